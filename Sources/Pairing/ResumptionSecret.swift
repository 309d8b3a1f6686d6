import P2PFSCore

/// The secret by which the two sides of a session meet again without the code: 256 bits from their first handshake.
///
/// It stays the same for the life of the mount. A new one with every connection would be lost with the one answer that
/// carries it, and the two sides would never meet again; forward secrecy does not need it, for every handshake has
/// fresh scalars of its own. Both sides keep it in a file of mode 0600.
package struct ResumptionSecret: Sendable, Equatable {
  /// Length in bytes.
  package static let length = 32

  /// The 256 bits, for the file in which they are kept.
  package let bytes: Secret

  /// A secret from its file; nil unless it has the right length.
  package init?(bytes: some Collection<UInt8>) {
    guard bytes.count == Self.length else { return nil }
    self.bytes = Secret(copying: bytes)
  }

  init(_ bytes: Secret) {
    precondition(bytes.count == Self.length)
    self.bytes = bytes
  }

  /// The room where the two meet: 32 hexadecimal digits derived from the secret, which reveal nothing about it.
  package var room: String {
    let name = bytes.withBytes {
      KeyDerivation.hkdf($0, salt: Array("p2pfs resumption 1".utf8), info: Array("room".utf8), count: 16)
    }
    return name.withBytes { Hex.encode($0) }
  }

  /// Whether both are the same secret, in constant time.
  package static func == (left: ResumptionSecret, right: ResumptionSecret) -> Bool {
    right.bytes.withBytes { left.bytes.equals($0) }
  }
}

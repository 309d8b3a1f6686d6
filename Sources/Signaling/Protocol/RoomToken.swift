import P2PFSCore
import CP2PFSOpenSSL

/// What lets the host of a room come back to it after a network change: 256 random bits.
package struct RoomToken: Sendable, Equatable {
  /// Length in bytes.
  package static let length = 32

  /// The bits, for the file they are kept in.
  package let bytes: [UInt8]

  /// A new token.
  package static func random() -> RoomToken {
    var bytes = [UInt8](repeating: 0, count: length)
    guard RAND_bytes(&bytes, Int32(length)) == 1 else { fatalError("the system has no random numbers") }
    return RoomToken(bytes)
  }

  /// A token that was kept; nil unless it has the right length.
  package init?(bytes: some Collection<UInt8>) {
    guard bytes.count == Self.length else { return nil }
    self.init(Array(bytes))
  }

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Reads 64 hexadecimal digits.
  init?(hex: String) {
    guard hex.utf8.count == 2 * Self.length, let bytes = Hex.decode(hex) else { return nil }
    self.init(bytes)
  }

  /// 64 lower-case hexadecimal digits.
  var hex: String { Hex.encode(bytes) }

  /// Whether both are the same, in constant time.
  package static func == (left: RoomToken, right: RoomToken) -> Bool {
    CRYPTO_memcmp(left.bytes, right.bytes, length) == 0
  }
}

extension RoomToken: CustomStringConvertible, CustomReflectable {
  /// Nothing of the token.
  package var description: String { "room token" }

  /// Nothing of the token.
  package var customMirror: Mirror { Mirror(self, children: []) }
}

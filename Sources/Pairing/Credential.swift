/// The knowledge of one side of a handshake: the stretched password of SPAKE2, and its room.
///
/// Make it once and use it for every handshake: with a code it costs scrypt's 50 ms and 16 MiB.
package struct Credential: Sendable {
  /// The room in which the handshake takes place.
  package let room: String
  /// w of RFC 9382.
  let w: Secret
  /// The given resumption secret, if there was no code: it stays the same for the life of the mount.
  let resumption: ResumptionSecret?

  /// Whether it can be guessed: a code has tens of bits, a resumption secret 256.
  package var isGuessable: Bool { resumption == nil }

  /// From a code: w is scrypt(SECRET, salt = label ‖ ROOM), 48 bytes modulo the group's order, as RFC 9382 section 3.2
  /// and FIPS 186 require (64 bits more than the order, so that no value is more likely).
  package init(_ code: Code) {
    room = code.room
    w = Curve.reduce(KeyDerivation.scrypt(code.password, salt: Array("p2pfs code 1\0\(code.room)".utf8), count: 48))
    resumption = nil
  }

  /// From a resumption secret: it has 256 bits, so HKDF replaces scrypt.
  package init(_ secret: ResumptionSecret) {
    room = secret.room
    w = secret.bytes.withBytes {
      Curve.reduce(
        KeyDerivation.hkdf($0, salt: Array("p2pfs resumption 1".utf8), info: Array("handshake".utf8), count: 48))
    }
    resumption = secret
  }

  /// The AAD of RFC 9382: protocol and version, the kind of secret, the room.
  var associated: [UInt8] {
    Array("p2pfs pairing \(HandshakeMessage.version)\0\(resumption == nil ? "code" : "resumption")\0\(room)".utf8)
  }
}

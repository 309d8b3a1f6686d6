/// The messages of two peers through a signaling server. One byte for the kind, then fields of fixed length:
///
///     1 hello    version (1) ‖ pA (65)                guest → host
///     2 share    pB (65)                              host → guest
///     3 proof    cA (32) ‖ sealed offer (0 or more)   guest → host
///     4 accept   cB (32)                              host → guest
///     5 refused  attempts left (1)                    host → guest
///     6 sealed   sequence (8) ‖ ciphertext ‖ tag (16) both ways
enum HandshakeMessage: Equatable {
  case hello(version: UInt8, share: [UInt8])
  case share([UInt8])
  case proof(confirmation: [UInt8], offer: [UInt8])
  case accept(confirmation: [UInt8])
  case refused(attemptsLeft: Int)

  /// The version of this protocol.
  static let version: UInt8 = 1
  /// The first byte of a sealed message.
  static let sealedKind: UInt8 = 6

  private static let confirmationLength = 32

  /// The message's bytes.
  var encoded: [UInt8] {
    switch self {
    case .hello(let version, let share): [1, version] + share
    case .share(let share): [2] + share
    case .proof(let confirmation, let offer): [3] + confirmation + offer
    case .accept(let confirmation): [4] + confirmation
    case .refused(let left): [5, UInt8(clamping: left)]
    }
  }

  /// Decodes a message of the handshake; nil if it is none. Points are not checked here.
  init?(parsing bytes: [UInt8]) {
    switch (bytes.first, bytes.count) {
    case (1, 2 + Curve.pointLength): self = .hello(version: bytes[1], share: Array(bytes[2...]))
    case (2, 1 + Curve.pointLength): self = .share(Array(bytes[1...]))
    case (3, (1 + Self.confirmationLength)...):
      self = .proof(
        confirmation: Array(bytes[1...Self.confirmationLength]), offer: Array(bytes[(1 + Self.confirmationLength)...]))
    case (4, 1 + Self.confirmationLength): self = .accept(confirmation: Array(bytes[1...]))
    case (5, 2): self = .refused(attemptsLeft: Int(bytes[1]))
    default: return nil
    }
  }
}

/// The reason of a failed handshake. It cannot be continued: the next attempt is a new one.
package enum HandshakeError: Error, Equatable, CustomStringConvertible {
  /// Not a message of the handshake, or truncated.
  case malformed
  /// A valid message at the wrong time, possibly repeated.
  case outOfOrder
  /// The other side speaks another version.
  case version(UInt8)
  /// The SPAKE2 share is not a point of the curve.
  case invalidShare
  /// The two sides have different codes, or a man in the middle has changed a message. The host reports the number of
  /// attempts left, nil if it did not; the number is not authenticated.
  case wrongCode(attemptsLeft: Int?)
  /// The host has returned after this side had sent its proof. A code is proved once in an attempt of its user.
  case provedAlready
  /// The data sent with a valid proof was not sealed with its key.
  case seal(SealError)

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .malformed: "The peer sent something that is not a message of the handshake."
    case .outOfOrder: "The peer sent a message of the handshake out of its turn."
    case .version(let version): "The peer speaks version \(version) of the handshake; this is version 1."
    case .invalidShare: "The peer sent a key that is none."
    case .wrongCode(let left?): "Wrong code (\(left) attempts left)."
    case .wrongCode(nil): "Wrong code."
    case .provedAlready: "The other side began again after the code had been shown to it once."
    case .seal(let error): error.description
    }
  }
}

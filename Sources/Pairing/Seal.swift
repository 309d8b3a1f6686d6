import P2PFSCore

/// The direction of a sealed message. Each direction has its own key.
enum SealDirection: UInt8, Sendable {
  case guestToHost = 0
  case hostToGuest = 1

  /// The side that seals or opens.
  enum Side: Sendable {
    case guest
    case host
  }
}

/// Seals the messages of one direction of one session, numbered from 0.
///
///     6 (1) ‖ sequence (8, big-endian) ‖ ciphertext ‖ tag (16)
///
/// AES-256-GCM; nonce: 4 zero bytes ‖ sequence; associated data: "p2pfs seal 1" ‖ direction ‖ sequence ‖ room.
package struct SealedSender: Sendable {
  /// Bytes that sealing adds.
  package static let overhead = 25

  private let key: Secret
  private let direction: SealDirection
  private let room: String
  private var next: UInt64 = 0

  init(key: Secret, direction: SealDirection, room: String) {
    self.key = key
    self.direction = direction
    self.room = room
  }

  /// The sealed message, `overhead` longer than `plaintext`, which has at most `Limits.Pairing.sealed` bytes.
  package mutating func seal(_ plaintext: [UInt8]) throws(SealError) -> [UInt8] {
    guard plaintext.count <= Limits.Pairing.sealed else { throw .tooLong }
    guard next < UInt64.max else { throw .exhausted }
    let sequence = next
    next += 1
    let header = SealFormat.header(sequence)
    return header
      + AuthenticatedCipher.seal(
        plaintext, key: key, nonce: SealFormat.nonce(sequence),
        associated: SealFormat.associated(direction, sequence, room))
  }
}

/// Opens the messages of one direction of one session: each one once, in order.
package struct SealedReceiver: Sendable {
  private let key: Secret
  private let direction: SealDirection
  private let room: String
  private var next: UInt64 = 0

  init(key: Secret, direction: SealDirection, room: String) {
    self.key = key
    self.direction = direction
    self.room = room
  }

  /// The plaintext. After an error the state is unchanged; the caller should end the session.
  package mutating func open(_ message: [UInt8]) throws(SealError) -> [UInt8] {
    guard message.count <= Limits.Pairing.sealed + SealedSender.overhead else { throw .tooLong }
    guard message.count >= SealedSender.overhead else { throw .truncated }
    guard message[0] == HandshakeMessage.sealedKind else { throw .notSealed }
    let sequence = message[1..<9].reduce(0) { $0 << 8 | UInt64($1) }
    // Only an authentic message is called a replay: a forger chooses the number.
    guard
      let plaintext = AuthenticatedCipher.open(
        message[9...], key: key, nonce: SealFormat.nonce(sequence),
        associated: SealFormat.associated(direction, sequence, room))
    else { throw .forged }
    guard sequence >= next else { throw .replayed }
    guard sequence == next else { throw .outOfOrder }
    next += 1
    return plaintext
  }
}

/// The reason why a sealed message is rejected.
package enum SealError: Error, Equatable, CustomStringConvertible {
  /// Larger than `Limits.Pairing.sealed`.
  case tooLong
  /// Shorter than any sealed message.
  case truncated
  /// Not a sealed message at all.
  case notSealed
  /// Not sealed by the peer of this session, for this direction and room, or modified: forged, reflected or truncated.
  case forged
  /// Sealed by the peer, and already opened.
  case replayed
  /// Sealed by the peer, but one before it is missing.
  case outOfOrder
  /// No sequence number is left.
  case exhausted

  /// A sentence for the log.
  package var description: String {
    switch self {
    case .tooLong: "The sealed message is too long."
    case .truncated: "The sealed message is cut short."
    case .notSealed: "The message is not sealed."
    case .forged: "The sealed message is forged or damaged."
    case .replayed: "The sealed message is a repetition."
    case .outOfOrder: "A sealed message before this one is missing."
    case .exhausted: "The session has used up its sequence numbers."
    }
  }
}

private enum SealFormat {
  static func header(_ sequence: UInt64) -> [UInt8] { [HandshakeMessage.sealedKind] + bytes(sequence) }

  static func nonce(_ sequence: UInt64) -> [UInt8] { [0, 0, 0, 0] + bytes(sequence) }

  static func associated(_ direction: SealDirection, _ sequence: UInt64, _ room: String) -> [UInt8] {
    Array("p2pfs seal 1".utf8) + [direction.rawValue] + bytes(sequence) + Array(room.utf8)
  }

  private static func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
}

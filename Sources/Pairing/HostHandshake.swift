/// The host's side of the handshake with one guest: bytes in, a step out. No I/O, no clock.
///
///     waiting ── hello ──▶ answered ── proof ──▶ finished
///        └──────── anything else ─────────────────┘
///
/// The host sends its confirmation only after it has received a valid one.
package struct HostHandshake: Sendable {
  /// The next step after a message.
  package enum Step: Sendable {
    /// Send these bytes, and wait.
    case reply([UInt8])
    /// The guest has the same secret: send `confirmation`, then the sealed messages of the session. `offer` came with
    /// the proof.
    case established(PairedSession, confirmation: [UInt8], offer: [UInt8])
    /// The guess of the guest is wrong: count it (`AttemptLimit`), then send `refusal(attemptsLeft:)`.
    case wrongCode
  }

  private enum State: Sendable {
    case waiting
    case answered(SPAKE2.Outcome)
    case finished
  }

  private let credential: Credential
  private var state = State.waiting

  /// Waits for a guest's first message.
  package init(_ credential: Credential) { self.credential = credential }

  /// The message to a guest that guessed wrong, or violated the protocol.
  package static func refusal(attemptsLeft: Int) -> [UInt8] {
    HandshakeMessage.refused(attemptsLeft: attemptsLeft).encoded
  }

  /// Handles a message of the guest.
  package mutating func receive(_ bytes: [UInt8]) throws(HandshakeError) -> Step {
    let before = state
    state = .finished
    guard let message = HandshakeMessage(parsing: bytes) else { throw .malformed }
    switch (before, message) {
    case (.waiting, .hello(let version, let share)):
      guard version == HandshakeMessage.version else { throw .version(version) }
      let exchange = SPAKE2(credential, .b)
      guard let outcome = exchange.finish(share) else { throw .invalidShare }
      state = .answered(outcome)
      return .reply(HandshakeMessage.share(exchange.share).encoded)
    case (.answered(let outcome), .proof(let confirmation, let sealed)):
      guard confirmation.withUnsafeBytes({ outcome.confirmationA.equals($0) }) else { return .wrongCode }
      var session = KeySchedule(outcome, credential).session(of: .host)
      var offer: [UInt8] = []
      if !sealed.isEmpty { do { offer = try session.receiver.open(sealed) } catch { throw .seal(error) } }
      return .established(
        session,
        confirmation: HandshakeMessage.accept(confirmation: outcome.confirmationB.withBytes(Array.init)).encoded,
        offer: offer)
    default:
      throw .outOfOrder
    }
  }
}

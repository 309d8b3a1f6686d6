/// The host's side of one guest's handshake: bytes in, a step out. No I/O, no clock.
///
///     waiting ── hello ──▶ answered ── proof ──▶ finished
///        └──────── anything else ─────────────────┘
///
/// The host shows its confirmation only after it has seen a right one.
package struct HostHandshake: Sendable {
  /// What to do after a message.
  package enum Step: Sendable {
    /// Send these bytes, and wait.
    case reply([UInt8])
    /// The guest has the same secret: send `confirmation`, then what the session seals. `offer` is what rode along.
    case established(PairedSession, confirmation: [UInt8], offer: [UInt8])
    /// The guest has guessed wrong: count it (`AttemptLimit`), then send `refusal(attemptsLeft:)`.
    case wrongCode
  }

  private enum State: Sendable {
    case waiting
    case answered(SPAKE2.Outcome)
    case finished
  }

  private let credential: Credential
  private var state = State.waiting

  /// Waits for a guest's opening.
  package init(_ credential: Credential) { self.credential = credential }

  /// What to tell a guest that guessed wrong, or one whose handshake broke a rule.
  package static func refusal(attemptsLeft: Int) -> [UInt8] {
    HandshakeMessage.refused(attemptsLeft: attemptsLeft).encoded
  }

  /// Takes what the guest sent.
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

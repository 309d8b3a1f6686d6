/// The guest's side of a handshake: bytes in, a step out. No I/O, no clock.
///
///     started ── share ──▶ proved ── accept ──▶ finished
///      ▲   │                 │
///      └───┤ `begin`         │
///          └── refused, anything else ────────▶ finished
///
/// The guest shows its confirmation first: a guess at the code is seen and counted by the host before it tells
/// anything, and an unfinished handshake teaches the guest nothing. But each proof lets whoever plays the host try one
/// guess, so that of a code is shown once: this value lasts for a whole attempt of the user, also when hosts come and go.
package struct GuestHandshake: Sendable {
  /// What to do after a message.
  package enum Step: Sendable {
    /// Send these bytes, and wait.
    case reply([UInt8])
    /// The host has the same secret. The session's next message from the host is its first.
    case established(PairedSession)
  }

  private enum State: Sendable {
    case started(SPAKE2)
    case proved(PairedSession, expected: Secret)
    case finished
  }

  /// The first message, to be sent when the host is there.
  package private(set) var opening: [UInt8]
  /// Whether a proof was shown that lets others try a guess: nothing more may be tried without the user.
  package private(set) var hasRiskedGuess = false
  private let credential: Credential
  private let offer: [UInt8]
  private var state: State

  /// Begins a handshake. `offer`, at most `Limits.Pairing.sealed` bytes, is sealed and rides along with the proof,
  /// which saves a round trip; empty means none.
  package init(_ credential: Credential, offer: [UInt8] = []) {
    self.credential = credential
    self.offer = offer
    let exchange = SPAKE2(credential, .a)
    opening = HandshakeMessage.hello(version: HandshakeMessage.version, share: exchange.share).encoded
    state = .started(exchange)
  }

  /// Begins anew, for a host that has come back: the message to send.
  /// - Throws: `provedAlready` if a proof of a code was shown before.
  package mutating func begin() throws(HandshakeError) -> [UInt8] {
    guard !hasRiskedGuess else {
      state = .finished
      throw .provedAlready
    }
    let exchange = SPAKE2(credential, .a)
    opening = HandshakeMessage.hello(version: HandshakeMessage.version, share: exchange.share).encoded
    state = .started(exchange)
    return opening
  }

  /// Takes what the host sent.
  package mutating func receive(_ bytes: [UInt8]) throws(HandshakeError) -> Step {
    let before = state
    state = .finished
    guard let message = HandshakeMessage(parsing: bytes) else { throw .malformed }
    switch (before, message) {
    case (.started(let exchange), .share(let share)):
      guard let outcome = exchange.finish(share) else { throw .invalidShare }
      var session = KeySchedule(outcome, credential).session(of: .guest)
      var sealed: [UInt8] = []
      if !offer.isEmpty { do { sealed = try session.sender.seal(offer) } catch { throw .seal(error) } }
      state = .proved(session, expected: outcome.confirmationB)
      hasRiskedGuess = credential.isGuessable
      return .reply(
        HandshakeMessage.proof(confirmation: outcome.confirmationA.withBytes(Array.init), offer: sealed).encoded)
    case (.proved(let session, let expected), .accept(let confirmation)):
      guard confirmation.withUnsafeBytes({ expected.equals($0) }) else { throw .wrongCode(attemptsLeft: nil) }
      return .established(session)
    case (.started, .refused(let left)), (.proved, .refused(let left)):
      throw .wrongCode(attemptsLeft: left)
    default:
      throw .outOfOrder
    }
  }
}

extension SPAKE2 {
  /// The exchange as p2pfs has it: the guest is A, the host is B.
  init(_ credential: Credential, _ side: Side) {
    self.init(
      side, w: credential.w, identityA: Array("p2pfs guest".utf8), identityB: Array("p2pfs host".utf8),
      associated: credential.associated)
  }
}

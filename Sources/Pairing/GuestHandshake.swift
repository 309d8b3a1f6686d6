/// The guest's side of a handshake: bytes in, a step out. No I/O, no clock.
///
///     started ── share ──▶ proved ── accept ──▶ finished
///      ▲   │                 │
///      └───┤ `begin`         │
///          └── refused, anything else ────────▶ finished
///
/// The guest sends its confirmation first: the host sees and counts each guess at the code before it reveals anything,
/// and an unfinished handshake teaches the guest nothing. But each proof lets a malicious host try one guess. So the
/// proof of a code is sent once: this value lasts for a whole attempt of the user, even if hosts come and go.
package struct GuestHandshake: Sendable {
  /// The next step after a message.
  package enum Step: Sendable {
    /// Send these bytes, and wait.
    case reply([UInt8])
    /// The host has the same secret. The next message of the host is the first of the session.
    case established(PairedSession)
  }

  private enum State: Sendable {
    case started(SPAKE2)
    case proved(PairedSession, expected: Secret)
    case finished
  }

  /// The first message, to be sent when the host is there.
  package private(set) var opening: [UInt8]
  /// Whether a proof was sent that lets others try a guess: nothing more may be tried without the user.
  package private(set) var hasRiskedGuess = false
  private let credential: Credential
  private let offer: [UInt8]
  private var state: State

  /// Starts a handshake. `offer`, at most `Limits.Pairing.sealed` bytes, is sealed and sent with the proof, which saves
  /// a round trip; empty means none.
  package init(_ credential: Credential, offer: [UInt8] = []) {
    self.credential = credential
    self.offer = offer
    let exchange = SPAKE2(credential, .a)
    opening = HandshakeMessage.hello(version: HandshakeMessage.version, share: exchange.share).encoded
    state = .started(exchange)
  }

  /// Starts again, for a host that has returned: the message to send.
  /// - Throws: `provedAlready` if a proof of a code was sent before.
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

  /// Handles a message of the host.
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
  /// The SPAKE2 exchange with the roles of p2pfs: the guest is A, the host is B.
  init(_ credential: Credential, _ side: Side) {
    self.init(
      side, w: credential.w, identityA: Array("p2pfs guest".utf8), identityB: Array("p2pfs host".utf8),
      associated: credential.associated)
  }
}

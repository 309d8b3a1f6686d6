import P2PFSCore
import P2PFSPairing
import P2PFSTransport

/// The exporter's side of a meeting with one guest: events in, actions out. A plain value without I/O and clock.
///
/// ```
///              hello, a right proof            there is room               the connection is up
/// exchanging ───────────────────────▶ admitting ─────────────▶ connecting ──────────────────────▶ finished
///      │ wrong: counted and told          │ no room: told          │ failure
///      └──────────────────────────────────┴────────────────────────┴─▶ failed
/// ```
struct HostMeetingState {
  private enum Phase {
    case exchanging(HostHandshake)
    /// The guest knows the code; whether there is room for it is asked.
    case admitting(SealedConversation)
    /// Both have described themselves: the server is needed no longer.
    case connecting(SealedConversation)
  }

  private var phase: Phase

  /// A meeting with a guest that has come into the room.
  init(_ credential: Credential) { phase = .exchanging(HostHandshake(credential)) }

  /// The first actions.
  func begin() -> [MeetingAction] { [.limit(seconds: Limits.Session.handshake)] }

  /// A message of the guest. `judge` runs its argument, which looks at one guess, where all guesses at this code are
  /// counted; it returns how many are left if the guess was wrong.
  mutating func received(_ payload: [UInt8], judge: (() -> Bool) -> Int?) -> [MeetingAction] {
    switch phase {
    case .exchanging(var handshake):
      defer { if case .exchanging = phase { phase = .exchanging(handshake) } }
      return exchange(payload, &handshake, judge)
    case .admitting: return [.fail(.tampered("a message before the answer"))]
    case .connecting(var conversation):
      do throws(MeetingError) {
        let message = try conversation.receive(payload)
        phase = .connecting(conversation)
        return message.map { [.apply($0)] } ?? []
      } catch {
        return [.fail(error)]
      }
    }
  }

  private mutating func exchange(
    _ payload: [UInt8], _ handshake: inout HostHandshake, _ judge: (() -> Bool) -> Int?
  ) -> [MeetingAction] {
    var result = Result<HostHandshake.Step, HandshakeError>.failure(.outOfOrder)
    let left = judge {
      result = Result { () throws(HandshakeError) in try handshake.receive(payload) }
      if case .success(.wrongCode) = result { return false }
      return true
    }
    if let left { return [.send(HostHandshake.refusal(attemptsLeft: left)), .fail(.wrongCode(attemptsLeft: left))] }
    switch result {
    case .failure(let error): return [.fail(MeetingError(error))]
    case .success(.reply(let answer)): return [.send(answer)]
    case .success(.wrongCode): return [.fail(.wrongCode(attemptsLeft: nil))]
    case .success(.established(let paired, let confirmation, let offer)):
      phase = .admitting(SealedConversation(paired))
      guard case .description(let text) = MeetingMessage(parsing: offer) else {
        return [.send(confirmation), .fail(.tampered("no offer"))]
      }
      return [.send(confirmation), .admit(offer: text)]
    }
  }

  /// There is no room for the guest.
  mutating func refuse(_ reason: String) -> [MeetingAction] {
    guard case .admitting(var conversation) = phase else { return [.fail(.refused(reason))] }
    defer { phase = .admitting(conversation) }
    return [conversation.send(.refusal(reason)), .fail(.refused(reason))]
  }

  /// There is: `answer` describes this side's connection, which has the guest's offer.
  mutating func answer(_ answer: String) -> [MeetingAction] {
    guard case .admitting(var conversation) = phase else { return [.fail(.abandoned)] }
    defer { phase = .connecting(conversation) }
    return [
      conversation.send(.description(answer)), .awaitConnection,
      .limit(seconds: Limits.Transport.connecting + Limits.Session.handshake),
    ]
  }

  /// A candidate of this side, or their end.
  mutating func found(_ message: MeetingMessage) -> [MeetingAction] {
    guard case .connecting(var conversation) = phase else { return [] }
    defer { phase = .connecting(conversation) }
    return [conversation.send(message)]
  }

  /// The connection is up, or will not be.
  func connected(_ result: Result<Void, TransportError>) -> [MeetingAction] {
    switch (result, phase) {
    case (.failure(let error), _): [.fail(.transport(error))]
    case (.success, .connecting(let conversation)): [.finish(conversation.resumption)]
    case (.success, _): [.fail(.abandoned)]
    }
  }

  /// The guest has left, the server is gone, or the time is over.
  func left() -> [MeetingAction] {
    if case .connecting = phase { [] } else { [.fail(.abandoned)] }
  }
}

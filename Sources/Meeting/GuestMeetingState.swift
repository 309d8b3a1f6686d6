import P2PFSCore
import P2PFSPairing
import P2PFSSignaling
import P2PFSTransport

/// The guest's side of a meeting: events in, actions out. A plain value without I/O and clock.
///
/// ```
///              hello, proof              the host's proof              its description
/// exchanging ───────────────▶ exchanging ───────────────▶ negotiating ─────────────────▶ connecting ──▶ finished
///    ▲  │ the host comes back: anew,          │                               │ the server is needed no longer
///    └──┘ until a code was proved             └─ any failure ─▶ failed ◀──────┘
/// ```
/// A code is proved once at most, for each proof lets the signaling server try one guess: after that no failure is
/// `.abandoned` or `.signaling`, which may be tried again without asking the user.
struct GuestMeetingState {
  private enum Phase {
    /// The handshake; `early`: what we found out about ourselves meanwhile.
    case exchanging(early: [MeetingMessage])
    /// Both know each other.
    case negotiating(SealedConversation)
    /// Both have described themselves.
    case connecting(SealedConversation)
  }

  private let waits: Bool
  private let patience: Double
  private var handshake: GuestHandshake
  private var phase = Phase.exchanging(early: [])

  /// A meeting with a host that is in the room. `offer` describes this side's connection. `waits`: whether a host that
  /// leaves is waited for. `patience`: the time for the handshake, and then for the connection, in seconds, as far as
  /// their own limits are not shorter.
  init(_ credential: Credential, offer: String, waits: Bool, patience: Double) {
    handshake = GuestHandshake(credential, offer: MeetingMessage.description(offer).encoded)
    self.waits = waits
    self.patience = patience
  }

  private var handshakeLimit: Double { min(patience, Limits.Session.handshake) }
  private var isHurried: Bool { patience < Limits.Transport.connecting }

  /// Whether the host has shown that it knows the code.
  private var isConfirmed: Bool { if case .exchanging = phase { false } else { true } }

  /// The first actions.
  mutating func begin() -> [MeetingAction] {
    // The server's word does not lengthen the time of a guest that does not wait.
    (waits ? [] : [.limit(seconds: handshakeLimit)]) + hostArrived()
  }

  /// The host has come into the room, or come back to it.
  mutating func hostArrived() -> [MeetingAction] {
    guard case .exchanging = phase else {
      // Perhaps it comes from elsewhere: its description may not hold any more.
      return waits && !handshake.hasRiskedGuess ? [.fail(.abandoned)] : []
    }
    do {
      let opening = MeetingAction.send(try handshake.begin())
      return waits ? [opening, .limit(seconds: handshakeLimit)] : [opening]
    } catch {
      return [.fail(MeetingError(error))]
    }
  }

  /// The host has left, and is waited for. The next one begins anew, unless a code was proved to this one.
  func hostLeft() -> [MeetingAction] {
    guard !isConfirmed else { return [] }
    return handshake.hasRiskedGuess ? [.fail(.brokenOff(isConfirmed: false))] : [.unlimited]
  }

  /// A message of the host.
  mutating func received(_ payload: [UInt8]) -> [MeetingAction] {
    switch phase {
    case .exchanging(let early): return exchange(payload, early)
    case .negotiating(var conversation):
      do throws(MeetingError) {
        guard let message = try conversation.receive(payload) else {
          phase = .negotiating(conversation)
          return []
        }
        guard case .description = message else {
          phase = .negotiating(conversation)
          return [.apply(message)]
        }
        phase = .connecting(conversation)
        let limit: [MeetingAction] = isHurried ? [.limit(seconds: patience)] : []
        return [.apply(message), .unlimited, .awaitConnection] + limit
      } catch {
        return [.fail(error)]
      }
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

  private mutating func exchange(_ payload: [UInt8], _ early: [MeetingMessage]) -> [MeetingAction] {
    do {
      switch try handshake.receive(payload) {
      case .reply(let answer): return [.send(answer)]
      case .established(let paired):
        var conversation = SealedConversation(paired)
        let actions = early.map { conversation.send($0) }
        phase = .negotiating(conversation)
        return [.reportConnecting] + actions
      }
    } catch {
      return [.fail(MeetingError(error))]
    }
  }

  /// A candidate of this side, or their end.
  mutating func found(_ message: MeetingMessage) -> [MeetingAction] {
    switch phase {
    case .exchanging(let early):
      phase = .exchanging(early: early + [message])
      return []
    case .negotiating(var conversation):
      defer { phase = .negotiating(conversation) }
      return [conversation.send(message)]
    case .connecting(var conversation):
      defer { phase = .connecting(conversation) }
      return [conversation.send(message)]
    }
  }

  /// The connection is up, or will not be.
  func connected(_ result: Result<Void, TransportError>) -> [MeetingAction] {
    switch (result, phase) {
    case (.failure(let error), _): [.fail(.transport(error))]
    case (.success, .connecting(let conversation)): [.finish(conversation.resumption)]
    case (.success, _): [.fail(.abandoned)]
    }
  }

  /// The host has left, the server is gone for `reason`, or the time is over.
  func left(_ reason: SignalingError?) -> [MeetingAction] {
    guard case .connecting = phase else {
      if handshake.hasRiskedGuess { return [.fail(.brokenOff(isConfirmed: isConfirmed))] }
      return [.fail(reason.map { .signaling($0) } ?? .abandoned)]
    }
    // Once both have described themselves they need the server no longer. But an exporter that has one of its own may
    // have died with it: a guest in a hurry does not wait for that for long.
    return isHurried ? [.unlimited, .limit(seconds: patience / 4)] : [.unlimited]
  }

  /// There are no more events.
  var failure: MeetingError {
    handshake.hasRiskedGuess ? .brokenOff(isConfirmed: isConfirmed) : .abandoned
  }
}

import P2PFSCore
import Logging
import Synchronization
import SystemPackage
import P2PFSWire

/// Connections come and go: a new one is greeted on while the one in use still serves.
extension Session {
  /// Adds a new connection. It replaces the one in use when the peer has greeted on it, and at once one that the peer
  /// has not greeted on yet.
  package func connect(_ link: any Link) {
    let (isTaken, toClose) = state.withLock { state in
      state.admission.forgetEarly()
      return state.phase.connect(link)
    }
    toClose?.close()
    guard isTaken else { return }
    var flags = Hello.Flags()
    if let responder {
      flags.insert(.exports)
      if responder.isReadOnly { flags.insert(.readOnly) }
      if responder.memory?.remembers ?? false { flags.insert(.remembers) }
    }
    let hello = Hello(
      session: configuration.identity, flags: flags, requests: UInt32(Limits.Session.requests),
      writeCredit: UInt32(configuration.grantedWriteCredit), instance: instance,
      machine: responder?.memory?.machine ?? instance)
    link.send(hello.encoded(), on: .control)
    // Only now: the peer's hello may be here already, and what it sets free must not overtake ours.
    link.attach(SessionLinkReceiver(session: self, link: link))
  }

  /// Whether there is a connection on which the peer has not greeted yet.
  package var isBeingGreeted: Bool { state.withLock { $0.phase.next != nil } }

  /// How many connections the peer has greeted on so far.
  package var connections: UInt64 { state.withLock { $0.phase.connections } }

  /// Whether another connection is wanted: there is none, or the one in use is doubted.
  package var needsConnection: Bool { state.withLock { $0.phase.needsConnection } }

  /// Whether another connection is wanted, now and at each change. Finishes when the session is over.
  package func needs() -> AsyncStream<Bool> {
    let (stream, continuation) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingNewest(1))
    state.withLock { state in
      guard state.phase.status != .over else { return continuation.finish() }
      state.makers.append(continuation)
      continuation.yield(state.phase.needsConnection)
    }
    return stream
  }

  /// The network has changed, so that the connection may be dead: sends a ping. If the answer is late, another
  /// connection is wanted.
  package func networkChanged() async {
    guard let link = state.withLock({ $0.phase.networkChanged(at: configuration.clock.now) }) else { return }
    ping(link)
    if !link.isFailing {
      try? await Task.sleep(for: .seconds(max(Limits.Session.headStart, min(2 * roundTrip, 1))))
    }
    let announcements = state.withLock { state in
      state.phase.answerIsOverdue(on: link)
      return state.announce()
    }
    for announcement in announcements { announcement() }
  }

  /// Counts time, in steps of at most a second: to be called with the seconds since the last call.
  /// - Returns: seconds until it is to be called again.
  @discardableResult
  package func tick(_ seconds: Double) -> Double {
    typealias Outcome = (
      duty: ConnectionPhase.Duty, failed: [@Sendable (Reply) -> Void], announcements: [@Sendable () -> Void],
      interval: Double
    )
    let step = min(max(seconds, 0), 1)
    let isStirred = isStirred.exchange(false, ordering: .relaxed)
    let outcome = state.withLock { state -> Outcome in
      let link = state.phase.link
      let duty = state.phase.count(
        step, heard: link?.lastHeard ?? Instant(nanoseconds: 0),
        isBusy: isStirred || state.pending.count > 0 || state.admission.executing > 0,
        isFailing: link?.isFailing ?? false, roundTrip: roundTrip, now: configuration.clock.now)
      let failed = if case .expire = duty { state.pending.removeAll() } else { [@Sendable (Reply) -> Void]() }
      return (duty, failed, state.announce(), state.phase.interval)
    }
    for announcement in outcome.announcements { announcement() }
    switch outcome.duty {
    case .none: break
    case .ask(let link): ping(link)
    case .drop(let link, let reason):
      log.debug("\(reason)")
      link.close()
      lost(link)
    case .expire: failChannels()
    }
    for completion in outcome.failed { completion(.failed(.ioError)) }
    countChannels(step)
    return outcome.interval
  }

  /// A connection is gone.
  func lost(_ link: any Link) {
    // In one step: a new connection may be made and greeted on at this moment, on another thread.
    let announcements = state.withLock { state in
      switch state.phase.lost(link) {
      case .nothing: break
      case .next: state.admission.forgetEarly()
      case .inUse: state.admission.disconnected()
      }
      return state.announce()
    }
    for announcement in announcements { announcement() }
  }

  /// Sends a ping; the answer carries its time back.
  func ping(_ link: any Link) {
    link.send(Session.message(.ping, sequence: configuration.clock.now.nanoseconds), on: .control)
  }
}

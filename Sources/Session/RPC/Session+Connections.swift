import P2PFSCore
import Logging
import Synchronization
import SystemPackage
import P2PFSWire

/// Connections that come and go: each is greeted on beside the one in use, which serves until then.
extension Session {
  /// Seconds of silence after which the connection is given up: sooner if the peer may not be away for that long.
  private var vanished: Double {
    min(Limits.Session.vanished, max(Limits.Session.leastVanished, configuration.timeout))
  }

  /// Takes a new connection. It replaces the one in use when the peer has greeted on it, and at once the one that it was
  /// to be greeted on before.
  package func connect(_ link: any Link) {
    let (old, isOver) = state.withLock { state -> ((any Link)?, Bool) in
      guard state.status != .over else { return (nil, true) }
      defer {
        state.next = NextLink(link: link)
        state.admission.forgetEarly()
      }
      return (state.next?.link, false)
    }
    old?.close()
    guard !isOver else {
      link.close()
      return
    }
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
  package var isBeingGreeted: Bool { state.withLock { $0.next != nil } }

  /// How many connections were greeted on so far.
  package var connections: UInt64 { state.withLock { $0.connection } }

  /// Whether another connection is wanted: there is none, or the one in use may not carry anything any more.
  package var needsConnection: Bool { state.withLock { $0.isNeeded } }

  /// Whether another connection is wanted, now and at each change. Finishes when the session is over.
  package func needs() -> AsyncStream<Bool> {
    let (stream, continuation) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingNewest(1))
    state.withLock { state in
      guard state.status != .over else { return continuation.finish() }
      state.makers.append(continuation)
      continuation.yield(state.isNeeded)
    }
    return stream
  }

  /// The network has changed, so that the connection may not carry anything any more: asks the peer. Another connection
  /// is wanted if it has not answered in time.
  package func networkChanged() async {
    let link = state.withLock { state in
      if state.link != nil { _ = state.vigil.networkChanged(at: .now) }
      return state.link
    }
    guard let link else { return }
    ping(link)
    if !link.isFailing {
      try? await Task.sleep(for: .seconds(max(Limits.Session.headStart, min(2 * roundTrip, 1))))
    }
    state.withLock { state in
      guard state.link === link else { return }
      state.vigil.answerIsOverdue()
      state.tellNeed()
    }
  }

  /// Counts time, in steps of at most a second: to be called with what has gone by since the last call.
  /// - Returns: seconds until it is to be called again.
  @discardableResult
  package func tick(_ seconds: Double) -> Double {
    enum Action {
      case none
      case ping(any Link)
      case drop(any Link, why: String)
      case expire([@Sendable (Reply) -> Void], [@Sendable (SessionState) -> Void])
    }
    let step = min(max(seconds, 0), 1)
    let isStirred = isStirred.exchange(false, ordering: .relaxed)
    let (action, next) = state.withLock { state -> (Action, Double) in
      guard state.status != .over else { return (.none, Limits.Session.tick) }
      // A peer that connects and never greets is as good as away.
      state.next?.waited += step
      if let next = state.next, next.waited >= Limits.Session.greeting {
        return (.drop(next.link, why: "no greeting for \(Limits.Session.greeting) s"), Limits.Session.tick)
      }
      guard let link = state.link else {
        state.away += step
        if state.status == .offline, state.away >= configuration.timeout {
          return (.expire(state.pending.removeAll(), state.turn(.expired)), Limits.Session.tick)
        }
        return (.none, Limits.Session.tick)
      }
      let advice = state.vigil.count(
        step, heard: link.lastHeard,
        isBusy: isStirred || state.restart != nil || state.pending.count > 0 || state.admission.executing > 0,
        isFailing: link.isFailing, roundTrip: roundTrip, vanished: vanished, now: .now)
      state.tellNeed()
      let next = state.vigil.isAlert ? Limits.Session.shortTick : Limits.Session.tick
      switch advice {
      case .none: return (.none, next)
      case .ask: return (.ping(link), next)
      case .giveUp: return (.drop(link, why: "no sign of life for \(vanished) s"), next)
      }
    }
    switch action {
    case .none: break
    case .ping(let link): ping(link)
    case .drop(let link, let why):
      log.debug("\(why)")
      link.close()
      lost(link)
    case .expire(let completions, let observers):
      for observer in observers { observer(.expired) }
      failChannels()
      for completion in completions { completion(.failed(.ioError)) }
    }
    countChannels(step)
    return next
  }

  /// A connection is gone.
  func lost(_ link: any Link) {
    // In one step: a new connection may be made and greeted on at this moment, on another thread.
    let observers = state.withLock { state -> [@Sendable (SessionState) -> Void] in
      if let next = state.next, next.link === link {
        state.next = nil
        state.admission.forgetEarly()
        return []
      }
      guard state.link === link else { return [] }
      state.link = nil
      state.admission.disconnected()
      guard state.status == .online else { return [] }
      state.away = state.vigil.silence
      defer { state.tellNeed() }
      return state.turn(.offline)
    }
    for observer in observers { observer(.offline) }
  }

  /// Asks for a sign of life; the answer carries the time of asking back.
  func ping(_ link: any Link) {
    link.send(Session.message(.ping, sequence: Instant.now.nanoseconds), on: .control)
  }
}

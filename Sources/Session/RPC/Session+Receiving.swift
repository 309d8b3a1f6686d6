package import P2PFSCore
import Logging
import Synchronization
import SystemPackage
import P2PFSWire

/// Passes the events of one connection to its session.
final class SessionLinkReceiver: LinkReceiver {
  private let session: Session
  /// Weak: the link holds its receiver.
  private weak let link: (any Link)?

  init(session: Session, link: any Link) {
    self.session = session
    self.link = link
  }

  func received(_ frame: Frame, on lane: Lane) {
    guard let link else { return }
    session.received(frame, on: lane, from: link)
  }
  var drainMark: Int { session.configuration.backlog / 4 }
  func drained() { session.serveParked() }
  func opened(_ channel: any LinkChannel) {
    guard let link else { return channel.close() }
    session.opened(channel, on: link)
  }
  func lost() {
    guard let link else { return }
    session.lost(link)
  }
}

extension Session {
  /// A message from the peer, on the link's thread.
  func received(_ frame: Frame, on lane: Lane, from link: any Link) {
    var reader = Reader(frame)
    do {
      let header = try Header(&reader)
      // Long replies are held back by the backlog; this bound stops a flood of short ones.
      guard readsReplies(link) else { throw MalformedMessage("it reads no replies") }
      if header.kind == .reply || header.kind == .request { isStirred.store(true, ordering: .relaxed) }
      switch header.kind {
      case .reply: complete(header, frame, from: link)
      case .request: try admit(IncomingRequest(header, frame), on: lane, from: link)
      case .hello: try greet(try Hello(&reader), from: link)
      case .ping: link.send(Session.message(.pong, sequence: header.sequence), on: .control)
      case .pong: heardAnswer(to: Instant(nanoseconds: header.sequence), from: link)
      case .goodbye:
        log.debug("the peer has left")
        finish()
      }
    } catch {
      violated("\(error)", on: link)
    }
  }

  // MARK: - Client

  private func complete(_ header: Header, _ frame: Frame, from link: any Link) {
    if completeRecovery(header, frame, from: link) { return }
    let completion = state.withLock { state -> (@Sendable (Reply) -> Void)? in
      // Replies on a replaced connection would mix with those on the new one.
      guard state.phase.link === link else { return nil }
      let (completion, isFree) = state.pending.completion(for: header)
      if isFree { for next in state.pending.promote() { link.send(next.frame, on: next.lane) } }
      return completion
    }
    completion?(Reply(header, in: frame))
  }

  private func greet(_ hello: Hello, from link: any Link) throws(MalformedMessage) {
    guard hello.oldest <= Hello.currentVersion, hello.version >= 1 else {
      throw MalformedMessage("it speaks versions \(hello.oldest) to \(hello.version), we speak \(Hello.currentVersion)")
    }
    guard hello.session == configuration.identity else { throw MalformedMessage("the hello names another session") }
    typealias Outcome = (
      greeted: ConnectionPhase.Greeted, early: [IncomingRequest], lost: [@Sendable (Reply) -> Void],
      channels: [SessionChannel], announcements: [@Sendable () -> Void], isOnline: Bool
    )
    // Under one lock with the change of state, so that no request slips between what is sent again and what is new.
    let outcome = try state.withLock { state throws(MalformedMessage) -> Outcome? in
      guard let greeted = try state.phase.greeted(hello, on: link) else { return nil }
      let early = state.admission.connected(state.phase.connections, isNewPeer: greeted.isNewPeer)
      var lost: [@Sendable (Reply) -> Void] = []
      var channels: [SessionChannel] = []
      if greeted.isNewPeer {
        // Whether it has executed the last changes is unknown, unless it remembers.
        let remembers = hello.flags.contains(.remembers)
        if !remembers { lost = state.pending.removeUndecided() }
        channels = state.channels.forgetPeer()
      }
      responder?.memory?.greeted(by: hello.instance)
      state.pending.restrict(to: Recovery.others(of: Int(hello.requests)))
      let isOnline = state.phase.onlineLink != nil
      if isOnline { resend(on: link, &state) }
      return (greeted, early, lost, channels, state.announce(), isOnline)
    }
    guard let outcome else { return }
    // Its further messages are ignored: unanswered requests were sent again.
    outcome.greeted.replaced?.close()
    for request in outcome.early {
      do { try admit(request, on: .bulk, from: link) } catch { violated("\(error)", on: link) }
    }
    for completion in outcome.lost { completion(.failed(.ioError)) }
    for channel in outcome.channels { channel.fail(.reset(.lost, "")) }
    if outcome.isOnline { carryChannels(by: link) }
    for channel in outcome.greeted.channels { opened(channel, on: link) }
    for announcement in outcome.announcements { announcement() }
    if outcome.isOnline { ping(link) } else { recover(on: link) }
  }

  private func heardAnswer(to asked: Instant, from link: any Link) {
    let (isOrdinary, announcements) = state.withLock { state in
      (state.phase.answered(askedAt: asked, on: link), state.announce())
    }
    for announcement in announcements { announcement() }
    if isOrdinary { measure(since: asked) }
  }

  private func measure(since asked: Instant) {
    let sample = configuration.clock.now.seconds(since: asked)
    guard sample >= 0, sample < 60 else { return }
    let old = roundTrip
    let smoothed = old == 0 ? sample : old * 0.875 + sample * 0.125
    roundTripNanoseconds.store(UInt64(smoothed * 1e9), ordering: .relaxed)
  }

  // MARK: - Exporter

  private func admit(_ request: IncomingRequest, on lane: Lane, from link: any Link) throws(MalformedMessage) {
    let action = try state.withLock { state throws(MalformedMessage) -> RequestAdmission.Action in
      if state.phase.next === link {
        try state.admission.receiveEarly(request, on: lane)
        return .none
      }
      guard state.phase.link === link else { return .none }
      return try state.admission.receive(request, backlog: link.backlog)
    }
    perform(action, on: link)
  }

  /// Executes requests that waited, as far as there is room again.
  func serveParked() {
    while true {
      let next = state.withLock { state -> (RequestAdmission.Action, any Link)? in
        guard let link = state.phase.link, let action = state.admission.unpark(backlog: link.backlog) else {
          return nil
        }
        return (action, link)
      }
      guard let (action, link) = next else { return }
      perform(action, on: link)
    }
  }

  private func perform(_ action: RequestAdmission.Action, on link: any Link) {
    switch action {
    case .none: break
    case .serve(let request, let charge):
      responder?.serve(request.frame, Exchange(header: request.header, charge: charge, sink: self))
    case .answerAgain(let reply): link.send(reply, on: .control)
    case .refuse(let header, let error): link.send(Frame.reply(to: header, error: error), on: .control)
    }
  }

  /// Whether the peer reads its replies: see `RequestAdmission.readsReplies`.
  func readsReplies(_ link: any Link) -> Bool {
    let backlog = link.backlog
    guard backlog > configuration.backlog else { return true }
    return state.withLock { $0.admission.readsReplies(backlog: backlog, ownBytes: $0.pending.messageBytes) }
  }

  package func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane) {
    state.withLock { state in
      let (isSent, isKept) = state.admission.replied(frame, to: exchange.header, exchange.charge, isLast: isLast)
      if isKept { responder?.memory?.keep(frame, to: exchange.header) }
      if isSent { state.phase.link?.send(frame, on: lane) }
    }
    if isLast { serveParked() }
  }
}

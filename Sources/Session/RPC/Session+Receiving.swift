package import P2PFSCore
import Logging
import Synchronization
import SystemPackage
import P2PFSWire

/// Tells a session what comes from one of its connections, as long as that is the one in use.
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
      // Long answers wait for the backlog; short ones, many times over, would fill the memory all the same.
      guard takesAnswers(link) else { throw MalformedMessage("it reads no replies") }
      if header.kind == .reply || header.kind == .request { isStirred.store(true, ordering: .relaxed) }
      switch header.kind {
      case .reply: complete(header, frame, from: link)
      case .request: try admit(header, frame, on: lane, from: link)
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

  // MARK: - As the one who asks

  private func complete(_ header: Header, _ frame: Frame, from link: any Link) {
    if completeRecovery(header, frame, from: link) { return }
    let completion = state.withLock { state -> (@Sendable (Reply) -> Void)? in
      // What a connection still brings after it was replaced would mix with the answers of the new one.
      guard state.link === link else { return nil }
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
    guard hello.session == configuration.identity else { throw MalformedMessage("the hello is of another session") }
    typealias Greeted = (
      old: (any Link)?, next: NextLink, lost: [@Sendable (Reply) -> Void], channels: [SessionChannel],
      observers: [(@Sendable (SessionState) -> Void, SessionState)], isResumed: Bool
    )
    // Under one lock with the change of state, so that no request slips between what is sent again and what is new.
    let outcome = try state.withLock { state throws(MalformedMessage) -> Greeted? in
      guard state.link !== link else { throw MalformedMessage("a second hello") }
      // A connection that was replaced before it was greeted on.
      guard let next = state.next, next.link === link else { return nil }
      let old = state.link
      state.next = nil
      state.link = link
      state.vigil = Vigil()
      state.connection += 1
      state.executingHere = 0
      state.held = RequestBytes()
      state.dropUnbegun()
      state.away = 0
      var lost: [@Sendable (Reply) -> Void] = []
      var channels: [SessionChannel] = []
      var observers: [(@Sendable (SessionState) -> Void, SessionState)] = []
      if let known = state.peer, known.instance != hello.instance {
        observers += state.turn(.offline).map { ($0, .offline) }
        // It was started again: whether it did what it was asked last is not known, unless it remembers.
        let remembers = hello.flags.contains(.remembers)
        if !remembers { lost = state.pending.removeUndecided() }
        state.restart = PeerRestart(
          remembers: remembers,
          isOtherMachine: known.machine != hello.machine || state.restart?.isOtherMachine ?? false)
        state.slots = SlotTable(count: Limits.Session.requests)
        state.slotsSince = state.connection
        channels = state.channels.forgetPeer()
      }
      responder?.memory?.greeted(by: hello.instance)
      state.pending.restrict(to: Recovery.others(of: Int(hello.requests)))
      state.peer = hello
      let isResumed = state.restart == nil
      if isResumed { observers += resume(on: link, &state).map { ($0, .online) } }
      return (old, next, lost, channels, observers, isResumed)
    }
    guard let outcome else { return }
    // What it still brings is not listened to any more: what has no answer was asked again.
    outcome.old?.close()
    for frame in outcome.next.early { received(frame, on: .bulk, from: link) }
    for completion in outcome.lost { completion(.failed(.ioError)) }
    for channel in outcome.channels { channel.fail(.reset(.lost, "")) }
    if outcome.isResumed { carryChannels(by: link) }
    for channel in outcome.next.earlyChannels { opened(channel, on: link) }
    for (observer, state) in outcome.observers { observer(state) }
    if outcome.isResumed { ping(link) } else { recover(on: link) }
  }

  private func heardAnswer(to asked: Instant, from link: any Link) {
    let isOrdinary = state.withLock { state in
      guard state.link === link else { return false }
      let isOrdinary = !state.vigil.isDoubted
      state.vigil.answered(askedAt: asked)
      state.tellNeed()
      return isOrdinary
    }
    // What waited for a path to come back says nothing of how long that is.
    if isOrdinary { measure(since: asked) }
  }

  private func measure(since asked: Instant) {
    let sample = configuration.clock.now.seconds(since: asked)
    guard sample >= 0, sample < 60 else { return }
    let old = roundTrip
    let smoothed = old == 0 ? sample : old * 0.875 + sample * 0.125
    roundTripNanoseconds.store(UInt64(smoothed * 1e9), ordering: .relaxed)
  }

  // MARK: - As the one who is asked

  private func admit(_ header: Header, _ frame: Frame, on lane: Lane, from link: any Link) throws(MalformedMessage) {
    guard let responder else {
      link.send(Frame.reply(to: header, error: .noFunction), on: .control)
      return
    }
    let reserve = Session.answerBytes(Operation(rawValue: header.operation), frame)
    let bytes = RequestBytes(of: frame, operation: header.operation)
    let (verdict, exchange) = try state.withLock {
      state throws(MalformedMessage) -> (SlotTable.Verdict, Exchange?) in
      if let next = state.next, next.link === link {
        guard lane == .bulk else { throw MalformedMessage("a request before the hello") }
        guard next.early.count < Limits.Session.requests else { throw MalformedMessage.tooManyRequests }
        guard (next.earlyBytes + bytes).fits(in: requestBound) else { throw MalformedMessage.tooManyBytes }
        state.next?.earlyBytes += bytes
        state.next?.early.append(frame)
        return (.ignore, nil)
      }
      guard state.link === link else { return (.ignore, nil) }
      guard state.executingHere + state.parked.count < Limits.Session.requests else {
        throw MalformedMessage.tooManyRequests
      }
      guard (state.held + bytes).fits(in: requestBound) else { throw MalformedMessage.tooManyBytes }
      // With what an earlier connection has left behind there may be more than one peer's worth of them.
      if state.executing >= Limits.Session.requests || !(state.begun + bytes).fits(in: requestBound) {
        state.parksAll = true
      }
      let hasRoom = reserve == 0 || state.parked.isEmpty && hasRoom(for: reserve, state, link)
      guard hasRoom, !state.parksAll else {
        guard SlotTable.slot(of: header.sequence) < Limits.Session.requests else { return (.violation, nil) }
        state.held += bytes
        state.parked.append(frame)
        return (.ignore, nil)
      }
      return begin(header, reserve: reserve, bytes, &state)
    }
    switch verdict {
    case .ignore: break
    case .violation: throw MalformedMessage("a request in slot \(SlotTable.slot(of: header.sequence))")
    case .answer(let reply): link.send(reply, on: .control)
    case .execute: if let exchange { responder.serve(frame, exchange) }
    }
  }

  /// What the peer's requests may take here.
  private var requestBound: RequestBytes {
    RequestBytes(data: configuration.grantedWriteCredit, others: Limits.Session.requestBytes)
  }

  /// Whether an answer of `reserve` bytes may be begun. One that exceeds the backlog by itself may when half of it is
  /// free: `LinkReceiver.drainMark` sees to it that this is looked at again.
  private func hasRoom(for reserve: Int, _ state: State, _ link: any Link) -> Bool {
    let taken = state.reserved + link.backlog
    return taken + reserve <= configuration.backlog || state.reserved == 0 && taken < configuration.backlog / 2
  }

  /// Whether the peer takes what it is told. What is queued on its link is at most the answers that have room, short ones
  /// besides, and what this side asks of the peer.
  func takesAnswers(_ link: any Link) -> Bool {
    let backlog = link.backlog
    guard backlog > configuration.backlog else { return true }
    let answers = max(configuration.backlog, configuration.backlog / 2 + Limits.Wire.read)
    return backlog <= answers + Limits.Session.shortAnswers + state.withLock { $0.pending.messageBytes }
  }

  /// Takes note of a request that is to be done now, if it is.
  private func begin(
    _ header: Header, reserve: Int, _ bytes: RequestBytes, _ state: inout State
  ) -> (SlotTable.Verdict, Exchange?) {
    let changes = Operation(rawValue: header.operation)?.changes ?? false
    let verdict = state.slots.admit(header.sequence, changes: changes)
    guard case .execute = verdict else { return (verdict, nil) }
    state.reserved += reserve
    state.begun += bytes
    state.held += bytes
    state.executing += 1
    state.executingHere += 1
    let exchange = Exchange(
      header: header, connection: state.connection, sink: self, reserved: reserve, bytes: bytes)
    return (verdict, exchange)
  }

  /// How much an answer may add to the backlog, for the operations whose answers are long.
  private static func answerBytes(_ operation: Operation?, _ frame: Frame) -> Int {
    switch operation {
    case .list: Limits.Wire.listing
    case .readlink: Limits.Wire.linkTarget
    case .read, .open:
      // Its last four bytes say how much is wanted.
      frame.count < Header.length + 4
        ? 0
        : min(
          Int(UInt32(littleEndian: (frame.base + frame.count - 4).loadUnaligned(as: UInt32.self))), Limits.Wire.read)
    default: 0
    }
  }

  /// Serves requests that waited, as far as there is room again.
  func serveParked() {
    guard let responder else { return }
    while true {
      typealias Next = (frame: Frame, link: any Link, verdict: SlotTable.Verdict, exchange: Exchange?)
      let next = state.withLock { state -> Next? in
        guard let link = state.link, let frame = state.parked.first, state.executing < Limits.Session.requests else {
          return nil
        }
        var reader = Reader(frame)
        guard let header = try? Header(&reader) else { preconditionFailure("it was read before it was parked") }
        let reserve = Session.answerBytes(Operation(rawValue: header.operation), frame)
        let bytes = RequestBytes(of: frame, operation: header.operation)
        guard (state.begun + bytes).fits(in: requestBound), reserve == 0 || hasRoom(for: reserve, state, link) else {
          return nil
        }
        state.parked.removeFirst()
        state.held -= bytes
        if state.parked.isEmpty { state.parksAll = false }
        let (verdict, exchange) = begin(header, reserve: reserve, bytes, &state)
        return (frame, link, verdict, exchange)
      }
      guard let next else { return }
      switch next.verdict {
      case .execute: if let exchange = next.exchange { responder.serve(next.frame, exchange) }
      case .answer(let reply): next.link.send(reply, on: .control)
      case .ignore, .violation: break
      }
    }
  }

  package func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane) {
    state.withLock { state in
      let changes = Operation(rawValue: exchange.header.operation)?.changes ?? false
      // A peer that was started again numbers its requests anew: it must not get the answers to older ones.
      let isKnown = exchange.connection >= state.slotsSince
      // What ends with an error because this side lets go of the session was not refused: the next program is asked again.
      if changes, isKnown, state.status != .over {
        state.slots.record(frame, for: exchange.header.sequence)
        responder?.memory?.keep(frame, to: exchange.header)
      }
      // What changed something is answered on whatever connection there is now; the rest is asked again.
      if changes && isKnown || exchange.connection == state.connection { state.link?.send(frame, on: lane) }
      if isLast {
        state.executing -= 1
        if exchange.connection == state.connection {
          state.executingHere -= 1
          state.held -= exchange.bytes
        }
        state.reserved -= exchange.reserved
        state.begun -= exchange.bytes
      }
    }
    if isLast { serveParked() }
  }
}

extension MalformedMessage {
  fileprivate static let tooManyBytes = MalformedMessage("its requests take more than they may")
  fileprivate static let tooManyRequests = MalformedMessage("more than \(Limits.Session.requests) requests at once")
}

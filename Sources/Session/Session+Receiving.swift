package import Core
import Logging
import Synchronization
import SystemPackage
import Wire

/// Tells a session what comes from one of its connections, as long as that is the one in use.
final class LinkReceiverOfConnection: LinkReceiver {
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
  func drained() { session.serveParked() }
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
      switch header.kind {
      case .reply: complete(header, frame)
      case .request: try admit(header, frame, on: lane, from: link)
      case .hello: try greet(try Hello(&reader), from: link)
      case .ping: link.send(Session.message(.pong, sequence: header.sequence), on: .control)
      case .pong: measure(since: Instant(nanoseconds: header.sequence))
      case .goodbye:
        log.info("the peer has left")
        finish()
      }
    } catch {
      violated("\(error)")
    }
  }

  // MARK: - As the one who asks

  private func complete(_ header: Header, _ frame: Frame) {
    let completion = state.withLock { state in
      let (completion, next) = state.pending.completion(for: header)
      if let next { state.link?.send(next.frame, on: next.lane) }
      return completion
    }
    completion?(Reply(header, in: frame))
  }

  private func greet(_ hello: Hello, from link: any Link) throws(MalformedMessage) {
    guard hello.oldest <= Hello.currentVersion, hello.version >= 1 else {
      throw MalformedMessage("it speaks versions \(hello.oldest) to \(hello.version), we speak \(Hello.currentVersion)")
    }
    guard hello.session == configuration.identity else { throw MalformedMessage("the hello is of another session") }
    // Under one lock with the change of state, so that no request slips between what is sent again and what is new.
    let outcome = state.withLock {
      state -> (lost: [@Sendable (Reply) -> Void], observers: [@Sendable (SessionState) -> Void])? in
      guard state.link === link, state.status == .offline || state.status == .expired else { return nil }
      var lost: [@Sendable (Reply) -> Void] = []
      if state.wasOnline, !hello.flags.contains(.remembers) {
        // It was started again: whether it did what it was asked last is not known.
        lost = state.pending.removeAll(onlyChanges: true)
        state.slots = SlotTable(count: Limits.Session.requests)
      }
      state.pending.restrict(to: Int(hello.requests))
      state.peer = hello
      state.wasOnline = true
      state.status = .online
      state.silence = 0
      for (frame, lane) in state.pending.sent() { link.send(frame, on: lane) }
      _ = state.pending.promote().map { link.send($0.frame, on: $0.lane) }
      return (lost, state.observers)
    }
    guard let outcome else { throw MalformedMessage("a second hello") }
    // What overtook the hello on the other lane.
    let early = state.withLock { state in
      defer { state.early = [] }
      return state.early
    }
    for frame in early { received(frame, on: .bulk, from: link) }
    for completion in outcome.lost { completion(.failed(.ioError)) }
    ping(link)
    for observer in outcome.observers { observer(.online) }
  }

  private func measure(since asked: Instant) {
    let sample = Instant.now.seconds(since: asked)
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
    let operation = Operation(rawValue: header.operation)
    let verdict = try state.withLock { state throws(MalformedMessage) -> SlotTable.Verdict in
      guard state.link === link else { return .ignore }
      guard state.executing + state.parked.count + state.early.count < Limits.Session.requests else {
        throw MalformedMessage("more than \(Limits.Session.requests) requests at once")
      }
      guard state.status == .online else {
        guard lane == .bulk else { throw MalformedMessage("a request before the hello") }
        state.early.append(frame)
        return .ignore
      }
      return state.slots.admit(header.sequence, changes: operation?.changes ?? false)
    }
    switch verdict {
    case .ignore: break
    case .violation: throw MalformedMessage("a request in slot \(SlotTable.slot(of: header.sequence))")
    case .answer(let reply): link.send(reply, on: .control)
    case .execute:
      let exchange = try state.withLock { state throws(MalformedMessage) -> Exchange? in
        let writeBytes = operation == .write ? frame.count : 0
        // The client counts data, this counts messages: allow for the headers.
        guard state.writeBytes + writeBytes <= configuration.grantedWriteCredit * 2 else {
          throw MalformedMessage("more data to write than its credit")
        }
        let reserve = Session.answerBytes(operation, frame)
        if reserve > 0, !state.parked.isEmpty || state.reserved + link.backlog > Limits.Session.backlog {
          state.parked.append(frame)
          return nil
        }
        state.writeBytes += writeBytes
        return start(header, reserve: reserve, writeBytes: writeBytes, &state)
      }
      if let exchange { responder.serve(frame, exchange) }
    }
  }

  private func start(_ header: Header, reserve: Int, writeBytes: Int, _ state: inout State) -> Exchange {
    state.reserved += reserve
    state.executing += 1
    return Exchange(header: header, connection: state.connection, sink: self, reserved: reserve, writeBytes: writeBytes)
  }

  /// How much an answer may add to the backlog, for the operations whose answers are long.
  private static func answerBytes(_ operation: Operation?, _ frame: Frame) -> Int {
    switch operation {
    case .list: Limits.Wire.listing
    case .read, .open:
      // Its last four bytes say how much is wanted.
      frame.count < Header.length + 4
        ? 0
        : min(
          Int(UInt32(littleEndian: (frame.base + frame.count - 4).loadUnaligned(as: UInt32.self))), Limits.Wire.read)
    default: 0
    }
  }

  /// Serves requests that waited for the backlog, as far as it has room again.
  func serveParked() {
    guard let responder else { return }
    while true {
      let next = state.withLock { state -> (Frame, Exchange)? in
        guard let link = state.link, let frame = state.parked.first,
          state.reserved + link.backlog <= Limits.Session.backlog
        else { return nil }
        state.parked.removeFirst()
        var reader = Reader(frame)
        guard let header = try? Header(&reader) else { preconditionFailure("it was read before it was parked") }
        let reserve = Session.answerBytes(Operation(rawValue: header.operation), frame)
        return (frame, start(header, reserve: reserve, writeBytes: 0, &state))
      }
      guard let (frame, exchange) = next else { return }
      responder.serve(frame, exchange)
    }
  }

  package func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane) {
    state.withLock { state in
      let changes = Operation(rawValue: exchange.header.operation)?.changes ?? false
      if changes { state.slots.record(frame, for: exchange.header.sequence) }
      // What changed something is answered on whatever connection there is now; the rest is asked again.
      if changes || exchange.connection == state.connection { state.link?.send(frame, on: lane) }
      if isLast {
        state.executing -= 1
        state.reserved -= exchange.reserved
        state.writeBytes -= exchange.writeBytes
      }
    }
    if isLast { serveParked() }
  }
}

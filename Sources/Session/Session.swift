package import Core
import DequeModule
package import Logging
import Synchronization
import SystemPackage
package import Wire

/// How a session stands.
package enum SessionState: Sendable, Equatable {
  /// There is no connection, and has not been one for less than the timeout: requests wait.
  case offline
  /// Requests and answers flow.
  case online
  /// There has been no connection for longer than the timeout: requests fail at once with EIO.
  case expired
  /// It is over for good.
  case over
}

/// One relation with one peer, which outlives its connections.
///
/// Either side may ask (`Requester`) and may have something to be asked for (a `Responder`). When a connection is
/// lost the session waits for the next (`connect`), sends again what has no answer, and answers what it is asked
/// again from its `SlotTable`, so that each change happens exactly once.
///
/// Threads: what the link calls runs on the link's thread; requests and replies come from any. One lock guards the
/// state; nothing is called while it is held but the queueing of a frame on the link, which never blocks.
package final class Session: Requester, ReplySink {
  /// What a session is made with.
  package struct Configuration: Sendable {
    /// The session's name, 16 bytes that both sides know from their handshake.
    package var identity: [UInt8]
    /// Seconds without the peer after which operations fail.
    package var timeout: Double
    /// Bytes of `write` data that the peer may send ahead of the answers, if there is a responder.
    package var grantedWriteCredit: Int

    /// A configuration of the given values.
    package init(
      identity: [UInt8], timeout: Double = Limits.Session.timeout,
      grantedWriteCredit: Int = Limits.Session.writeCredit
    ) {
      self.identity = identity
      self.timeout = timeout
      self.grantedWriteCredit = grantedWriteCredit
    }
  }

  struct State {
    var status = SessionState.offline
    /// The connection in use or being greeted on.
    var link: (any Link)?
    /// How many connections there were; tells the replies of one from those of the next.
    var connection: UInt64 = 0
    /// Seconds without a sign of life on the link, and when it had the last one.
    var silence = 0.0
    var lastHeard = Instant(nanoseconds: 0)
    /// Whether the peer has greeted on the link.
    var isGreeted = false
    /// Seconds that the link, if there is one, has waited for the peer's hello.
    var greeting = 0.0
    /// Seconds since the peer was heard last, while it is not greeted.
    var away = 0.0
    var pending = PendingRequests(limit: Recovery.others(of: Limits.Session.requests))
    var slots = SlotTable(count: Limits.Session.requests)
    /// What the peer has said of itself last.
    var peer: Hello?
    /// That the peer was started again, until all is put right: then the session is not online, though it is connected.
    var restart: PeerRestart?
    var recovery = Recovery()
    var recoverers: [(number: UInt64, body: @Sendable (PeerRestart) -> [RecoveryRequest])] = []
    var lastRecoverer: UInt64 = 0
    var observers: [(number: UInt64, body: @Sendable (SessionState) -> Void)] = []
    var lastObserver: UInt64 = 0

    // What the peer has asked for and not got.
    var executing = 0
    /// Those of them that came in on the present connection.
    var executingHere = 0
    /// The first connection whose requests `slots` knows.
    var slotsSince: UInt64 = 0
    var writeBytes = 0
    /// Bytes of answers that requests being executed may add to the link's backlog.
    var reserved = 0
    /// Requests that wait for the backlog to shrink, or for those of an earlier connection to end. The slot table
    /// does not know them yet: they are asked again when the connection is lost.
    var parked = Deque<Frame>()
    /// Whether all further requests must wait behind these.
    var parksAll = false
    /// Requests that overtook the peer's hello, on the other lane.
    var early: [Frame] = []
    var channels = ChannelTable()

    /// Changes the state; returns whom to tell, without the lock.
    mutating func turn(_ new: SessionState) -> [@Sendable (SessionState) -> Void] {
      guard status != new else { return [] }
      status = new
      return observers.map(\.body)
    }

    /// Returns the observer's number, to be taken away by.
    mutating func add(observer: @escaping @Sendable (SessionState) -> Void) -> UInt64 {
      lastObserver += 1
      observers.append((lastObserver, observer))
      return lastObserver
    }

    /// Forgets what came in on a connection that is gone and was not begun.
    mutating func dropUnbegun() {
      parked = []
      parksAll = false
      early = []
    }
  }

  let configuration: Configuration
  let responder: (any Responder)?
  let log: Logger
  let state = Mutex(State())
  /// Tells the peer whether this is still the session that it knows.
  private let instance = UInt64.random(in: .min ... .max)
  /// Begins anywhere, since the peer may still hold handles that this side took before it was started again.
  private let handles = Atomic<UInt64>(UInt64.random(in: 1...UInt64.max / 2))
  /// What the windows of all channels may take beyond the least, in either direction.
  let sendPool = WindowPool()
  let receivePool = WindowPool()
  /// Smoothed round trip time in nanoseconds.
  let roundTripNanoseconds = Atomic<UInt64>(0)

  /// Seconds of silence after which the connection is given up: sooner if the peer may not be away for that long.
  private var vanished: Double {
    min(Limits.Session.vanished, max(Limits.Session.leastVanished, configuration.timeout))
  }
  /// Seconds of silence after which the peer is asked for a sign of life: it has several chances.
  private var heartbeat: Double { vanished * Limits.Session.heartbeat }

  /// A session that has no connection yet. `responder` serves the peer, if something is exported to it.
  package init(
    _ configuration: Configuration, responder: (any Responder)? = nil, log: Logger = Logger(label: "p2pfs.session")
  ) {
    precondition(configuration.identity.count == 16)
    self.configuration = configuration
    self.responder = responder
    self.log = log
  }

  // MARK: - Life

  /// The session's name, 16 bytes.
  package var identity: [UInt8] { configuration.identity }
  /// How it stands now.
  package var status: SessionState { state.withLock { $0.status } }

  /// Calls `observer` at each change of the state, on the thread that changes it; it must not block.
  package func observe(_ observer: @escaping @Sendable (SessionState) -> Void) {
    _ = state.withLock { $0.add(observer: observer) }
  }

  /// The state now, and each change from here on. Finishes when the session is over.
  package func states() -> AsyncStream<SessionState> {
    let (stream, continuation) = AsyncStream.makeStream(of: SessionState.self, bufferingPolicy: .bufferingNewest(16))
    let (now, number) = state.withLock { state in
      let number = state.add { new in
        continuation.yield(new)
        if new == .over { continuation.finish() }
      }
      return (state.status, number)
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { state in state.observers.removeAll { $0.number == number } }
    }
    continuation.yield(now)
    if now == .over { continuation.finish() }
    return stream
  }

  /// Takes a new connection, which replaces the one before. The session is online when the peer has greeted.
  package func connect(_ link: any Link) {
    let (old, isOver, observers) = state.withLock { state in
      let old = state.link
      guard state.status != .over else {
        return (nil as (any Link)?, true, [@Sendable (SessionState) -> Void]())
      }
      state.link = link
      state.connection += 1
      state.executingHere = 0
      state.dropUnbegun()
      state.silence = 0
      state.greeting = 0
      state.isGreeted = false
      // From here on nothing is sent until the peer has greeted on the new connection.
      guard state.status == .online else { return (old, false, []) }
      state.away = 0
      return (old, false, state.turn(.offline))
    }
    old?.close()
    guard !isOver else {
      link.close()
      return
    }
    for observer in observers { observer(.offline) }
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
    link.attach(LinkReceiverOfConnection(session: self, link: link))
  }

  /// Ends the session: tells the peer, fails what has no answer, closes what the peer had open.
  package func end() {
    let link = state.withLock { $0.link }
    link?.send(Session.message(.goodbye), on: .control)
    finish()
  }

  /// As `end`, and returns when the peer has heard it, or had a moment to; also in a task that was cancelled.
  package func leave() async {
    let link = state.withLock { $0.link }
    end()
    await link?.closed()
  }

  /// Lets go of the session on this side without telling the peer, which may go on with it when this program is
  /// started again: closes the connection and what the peer had open, and keeps what is remembered of it.
  package func suspend() { finish(forGood: false) }

  /// Whether there is a connection on which the peer has not greeted yet.
  package var isBeingGreeted: Bool { state.withLock { $0.link != nil && !$0.isGreeted } }

  /// Counts time, in steps of at most a second: to be called about once a second with what has gone by.
  package func tick(_ seconds: Double) {
    enum Action {
      case none
      case ping(any Link)
      case drop(any Link, why: String)
      case expire([@Sendable (Reply) -> Void], [@Sendable (SessionState) -> Void])
    }
    let step = min(max(seconds, 0), 1)
    let action = state.withLock { state -> Action in
      guard state.status != .over else { return .none }
      if state.status != .online, !state.isGreeted || state.link == nil {
        // A peer that connects and never greets is as good as away.
        state.away += step
        if state.status == .offline, state.away >= configuration.timeout {
          return .expire(state.pending.removeAll(), state.turn(.expired))
        }
        state.greeting += step
        guard let link = state.link, state.greeting >= Limits.Session.greeting else { return .none }
        return .drop(link, why: "no greeting for \(Limits.Session.greeting) s")
      }
      guard let link = state.link else { return .none }
      state.silence += step
      let heard = link.lastHeard
      if heard > state.lastHeard {
        state.lastHeard = heard
        state.silence = 0
      }
      if state.silence >= vanished { return .drop(link, why: "no sign of life for \(vanished) s") }
      return state.silence >= heartbeat ? .ping(link) : .none
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
  }

  // MARK: - Requester

  package func newHandle() -> Handle {
    Handle(rawValue: handles.wrappingAdd(1, ordering: .relaxed).oldValue)
  }

  package var writeCredit: Int {
    state.withLock { Int($0.peer?.writeCredit ?? UInt32(Limits.Session.leastWriteCredit)) }
  }
  package var isOnline: Bool { state.withLock { $0.status == .online } }
  package var isReadOnly: Bool { state.withLock { $0.peer?.flags.contains(.readOnly) ?? false } }
  package var roundTrip: Double { Double(roundTripNanoseconds.load(ordering: .relaxed)) / 1e9 }
  /// Whether the peer exports something.
  package var peerExports: Bool { state.withLock { $0.peer?.flags.contains(.exports) ?? false } }

  @discardableResult
  package func send(_ request: Frame, on lane: Lane, completion: @escaping @Sendable (Reply) -> Void) -> UInt64 {
    precondition(request.count >= Header.length && request.count <= Limits.Wire.message)
    let changes = Operation(rawValue: request.bytes[1])?.changes ?? true
    let ticket = state.withLock { state -> UInt64? in
      guard state.status == .online || state.status == .offline else { return nil }
      let (isNumbered, ticket) = state.pending.add(request, on: lane, changes: changes, completion: completion)
      // Queued under the lock, so that requests leave in the order in which they were numbered.
      if isNumbered, state.status == .online { state.link?.send(request, on: lane) }
      return ticket
    }
    if let ticket { return ticket }
    completion(.failed(.ioError))
    return 0
  }

  package func abandon(_ ticket: UInt64) {
    state.withLock { $0.pending.abandon(ticket) }
  }

  // MARK: - What LinkReceiverOfConnection tells

  func lost(_ link: any Link) {
    // In one step: a new connection may be made and greeted on at this moment, on another thread.
    let observers = state.withLock { state -> [@Sendable (SessionState) -> Void] in
      guard state.link === link else { return [] }
      state.link = nil
      state.isGreeted = false
      state.dropUnbegun()
      guard state.status == .online else { return [] }
      state.away = state.silence
      return state.turn(.offline)
    }
    for observer in observers { observer(.offline) }
  }

  // MARK: - Inside

  /// A message that is only a header.
  static func message(_ kind: MessageKind, sequence: UInt64 = 0) -> Frame {
    let frame = Frame(capacity: Header.length)
    Header(kind: kind, sequence: sequence).write(to: frame)
    return frame
  }

  /// Asks for a sign of life; the answer carries the time of asking back.
  func ping(_ link: any Link) {
    link.send(Session.message(.ping, sequence: Instant.now.nanoseconds), on: .control)
  }

  /// `forGood`: nobody comes back to the session.
  func finish(forGood: Bool = true) {
    typealias Outcome = (
      link: (any Link)?, completions: [@Sendable (Reply) -> Void], observers: [@Sendable (SessionState) -> Void]
    )
    let outcome = state.withLock { state -> Outcome? in
      guard state.status != .over else { return nil }
      defer {
        state.link = nil
        state.dropUnbegun()
        state.observers = []
        state.recoverers = []
      }
      return (state.link, state.pending.removeAll(), state.turn(.over))
    }
    guard let outcome else { return }
    for observer in outcome.observers { observer(.over) }
    failChannels()
    for completion in outcome.completions { completion(.failed(.ioError)) }
    outcome.link?.close()
    if forGood { responder?.end() } else { responder?.suspend() }
  }

  package func violated(_ what: String) {
    if let link = state.withLock({ $0.link }) { violated(what, on: link) }
  }

  /// Ends the connection on which the peer broke the protocol.
  func violated(_ what: String, on link: any Link) {
    log.warning("the peer broke the protocol: \(what)")
    link.close()
    lost(link)
  }
}

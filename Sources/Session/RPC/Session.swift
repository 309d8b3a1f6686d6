package import P2PFSCore
package import Logging
import Synchronization
import SystemPackage
package import P2PFSWire

/// The status of a session.
package enum SessionState: Sendable, Equatable {
  /// There is no connection, for less than the timeout so far: requests wait.
  case offline
  /// Requests and replies flow.
  case online
  /// There has been no connection for longer than the timeout: requests fail at once with EIO.
  case expired
  /// It is over for good.
  case over
}

/// One relation with one peer, which outlives its connections.
///
/// Either side may send requests (`Requester`) and may serve some (`Responder`). When a connection is lost the session
/// waits for the next one (`connect`) and sends unanswered requests again. Requests that are received again are
/// answered from the `SlotTable`, so that each change happens exactly once.
///
/// Threads: the link calls on its own thread; requests and replies come from any. One lock guards the state. While it
/// is held nothing else is called than the queueing of a frame on the link, which never blocks, and `SlotMemory`.
package final class Session: Requester, ReplySink {
  /// The parameters of a session.
  package struct Configuration: Sendable {
    /// The session's name, 16 bytes that both sides know from their handshake.
    package var identity: [UInt8]
    /// Seconds without the peer after which operations fail.
    package var timeout: Double
    /// Bytes of `write` data that the peer may send ahead of the answers, if there is a responder.
    package var grantedWriteCredit: Int
    /// Bytes of unsent replies above which further requests with long replies wait.
    package var backlog: Int
    /// By which round trips are measured.
    package var clock: Clock

    /// A configuration of the given values.
    package init(
      identity: [UInt8], timeout: Double = Limits.Session.timeout,
      grantedWriteCredit: Int = Limits.Session.writeCredit, backlog: Int = Limits.Session.backlog,
      clock: Clock = .real
    ) {
      self.identity = identity
      self.timeout = timeout
      self.grantedWriteCredit = grantedWriteCredit
      self.backlog = backlog
      self.clock = clock
    }
  }

  struct State {
    /// The connections.
    var phase: ConnectionPhase
    /// The status that the observers were told last.
    private var announced = SessionState.offline
    /// The readers of `needs`, and the value that they were told last.
    var makers: [AsyncStream<Bool>.Continuation] = []
    var isNeeded = true
    var pending = PendingRequests(limit: Recovery.others(of: Limits.Session.requests))
    var slots = SlotTable(count: Limits.Session.requests)
    /// The requests to a peer that was started again.
    var recovery = Recovery()
    var recoverers: [(number: UInt64, body: @Sendable (PeerRestart) -> [RecoveryRequest])] = []
    var lastRecoverer: UInt64 = 0
    var observers: [(number: UInt64, body: @Sendable (SessionState) -> Void)] = []
    var lastObserver: UInt64 = 0
    /// The peer's requests.
    var admission: RequestAdmission
    var channels = ChannelTable()

    init(phase: ConnectionPhase, admission: RequestAdmission) {
      (self.phase, self.admission) = (phase, admission)
    }

    /// To be called after each change of `phase`. Tells the makers whether a connection is needed, if that has changed.
    /// - Returns: calls that tell the observers of a new status, to be made without the lock.
    mutating func announce() -> [@Sendable () -> Void] {
      let isNeeded = phase.needsConnection
      if isNeeded != self.isNeeded {
        self.isNeeded = isNeeded
        for maker in makers { maker.yield(isNeeded) }
      }
      let status = phase.status
      guard announced != status else { return [] }
      announced = status
      return observers.map { observer in { observer.body(status) } }
    }

    /// - Returns: the observer's number, by which it can be removed.
    mutating func add(observer: @escaping @Sendable (SessionState) -> Void) -> UInt64 {
      lastObserver += 1
      observers.append((lastObserver, observer))
      return lastObserver
    }
  }

  let configuration: Configuration
  let responder: (any Responder)?
  let log: Logger
  let state: Mutex<State>
  /// Sent in the hello: tells the peer whether this is still the program that it knows.
  let instance = UInt64.random(in: .min ... .max)
  /// Starts at a random number, since the peer may still hold handles that an earlier program of this side has chosen.
  private let handles = Atomic<UInt64>(UInt64.random(in: 1...UInt64.max / 2))
  /// What the windows of all channels may grow by together, in each direction.
  let sendPool = WindowPool()
  let receivePool = WindowPool()
  /// Smoothed round trip time in nanoseconds.
  let roundTripNanoseconds = Atomic<UInt64>(0)

  /// Whether a request, a reply or a message of a channel was received since the last tick.
  let isStirred = Atomic<Bool>(false)

  /// A session without a connection. `responder` serves the peer, if something is exported to it.
  package init(
    _ configuration: Configuration, responder: (any Responder)? = nil, log: Logger = Logger(label: "p2pfs.session")
  ) {
    precondition(configuration.identity.count == 16)
    self.configuration = configuration
    self.responder = responder
    self.log = log
    let admission = RequestAdmission(
      isServing: responder != nil, backlog: configuration.backlog, writeCredit: configuration.grantedWriteCredit)
    state = Mutex(State(phase: ConnectionPhase(timeout: configuration.timeout), admission: admission))
  }

  // MARK: - Life

  /// The session's name, 16 bytes.
  package var identity: [UInt8] { configuration.identity }
  /// The status now.
  package var status: SessionState { state.withLock { $0.phase.status } }

  /// Calls `observer` at each change of the status, on the thread that changes it; it must not block.
  package func observe(_ observer: @escaping @Sendable (SessionState) -> Void) {
    _ = state.withLock { $0.add(observer: observer) }
  }

  /// The status now, and each further change. Finishes when the session is over.
  package func states() -> AsyncStream<SessionState> {
    let (stream, continuation) = AsyncStream.makeStream(of: SessionState.self, bufferingPolicy: .bufferingNewest(16))
    let (now, number) = state.withLock { state in
      let number = state.add { new in
        continuation.yield(new)
        if new == .over { continuation.finish() }
      }
      return (state.phase.status, number)
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { state in state.observers.removeAll { $0.number == number } }
    }
    continuation.yield(now)
    if now == .over { continuation.finish() }
    return stream
  }

  /// Ends the session: tells the peer, fails what has no answer, closes what the peer had open.
  package func end() { finish(saysGoodbye: true) }

  /// The connection in use, and the one that is to take its place.
  private var links: [any Link] { state.withLock { $0.phase.links } }

  /// As `end`, and returns when the peer has heard it, or had a moment to; also in a task that was cancelled.
  package func leave() async {
    let links = links
    end()
    for link in links { await link.closed() }
  }

  /// Detaches from the session without telling the peer, which may resume it with the next run of this program: closes
  /// the connection and the peer's open files, and keeps the journal.
  package func suspend() { finish(forGood: false) }

  // MARK: - Requester

  package func newHandle() -> Handle {
    Handle(rawValue: handles.wrappingAdd(1, ordering: .relaxed).oldValue)
  }

  package var writeCredit: Int {
    state.withLock { Int($0.phase.peer?.writeCredit ?? UInt32(Limits.Session.leastWriteCredit)) }
  }
  package var isOnline: Bool { status == .online }
  package var isReadOnly: Bool { state.withLock { $0.phase.peer?.flags.contains(.readOnly) ?? false } }
  package var roundTrip: Double { Double(roundTripNanoseconds.load(ordering: .relaxed)) / 1e9 }
  /// Whether the peer exports something.
  package var peerExports: Bool { state.withLock { $0.phase.peer?.flags.contains(.exports) ?? false } }

  @discardableResult
  package func send(_ request: Frame, on lane: Lane, completion: @escaping @Sendable (Reply) -> Void) -> UInt64 {
    precondition(request.count >= Header.length && request.count <= Limits.Wire.message)
    let changes = RequestSummary(of: request).changes
    let ticket = state.withLock { state -> UInt64? in
      guard state.phase.takesRequests else { return nil }
      let link = state.phase.onlineLink
      let (isNumbered, ticket) = state.pending.add(
        request, on: lane, changes: changes, isConnected: link != nil, completion: completion)
      // Queued under the lock, so that requests leave in the order in which they were numbered.
      if isNumbered { link?.send(request, on: lane) }
      return ticket
    }
    if let ticket { return ticket }
    completion(.failed(.ioError))
    return 0
  }

  package func abandon(_ ticket: UInt64) {
    state.withLock { $0.pending.abandon(ticket) }
  }

  // MARK: - Inside

  /// A message that is only a header.
  static func message(_ kind: MessageKind, sequence: UInt64 = 0) -> Frame {
    let frame = Frame(capacity: Header.length)
    Header(kind: kind, sequence: sequence).write(to: frame)
    return frame
  }

  /// Ends the session; with `forGood`, what is remembered of it goes, too. `saysGoodbye`: tells the peer.
  func finish(forGood: Bool = true, saysGoodbye: Bool = false) {
    typealias Outcome = (
      links: [any Link], completions: [@Sendable (Reply) -> Void], announcements: [@Sendable () -> Void]
    )
    let outcome = state.withLock { state -> Outcome? in
      guard let links = state.phase.end() else { return nil }
      for maker in state.makers { maker.finish() }
      state.makers = []
      let announcements = state.announce()
      state.admission.end()
      state.observers = []
      state.recoverers = []
      return (links, state.pending.removeAll(), announcements)
    }
    guard let outcome else { return }
    // Only now: the peer's end, which may be here at once, must not look like a connection that is lost.
    if saysGoodbye { for link in outcome.links { link.send(Session.message(.goodbye), on: .control) } }
    for announcement in outcome.announcements { announcement() }
    failChannels()
    for completion in outcome.completions { completion(.failed(.ioError)) }
    for link in outcome.links { link.close() }
    if forGood { responder?.end() } else { responder?.suspend() }
  }

  package func violated(_ what: String) {
    if let link = state.withLock({ $0.phase.link }) { violated(what, on: link) }
  }

  /// Ends the connection on which the peer broke the protocol.
  func violated(_ what: String, on link: any Link) {
    log.warning("the peer broke the protocol: \(what)")
    link.close()
    lost(link)
  }
}

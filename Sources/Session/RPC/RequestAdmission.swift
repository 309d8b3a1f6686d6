import DequeModule
import P2PFSCore
import SystemPackage
import P2PFSWire

/// A request of the peer, with its header parsed.
struct IncomingRequest: Sendable {
  let header: Header
  let frame: Frame
  /// What it costs and asks for.
  let summary: RequestSummary

  /// A request whose header was parsed.
  init(_ header: Header, _ frame: Frame) {
    self.header = header
    self.frame = frame
    summary = RequestSummary(of: frame, operation: header.operation)
  }

  /// What it takes in memory.
  fileprivate var bytes: RequestBytes { RequestBytes(of: summary) }
}

/// Decides about each request of the peer: whether it is executed now, waits, was answered already, or breaks the
/// protocol. A plain value without I/O.
///
/// ```
///                    ┌─ no room for its reply, or for it ──▶ parked ──▶ room ─┐
/// request ──▶ bounds ┤                                                        ├─▶ slot ──▶ executing ──▶ replied
///    ▲               └────────────────────────────────────────────────────────┘    └─ seen before: replied again,
///  early (the connection is not greeted on yet)                                       or ignored
/// ```
/// The parked requests are unknown to the slot table: they are sent again when the connection is lost, as those are
/// that came early. Executing ones go on, and count, whatever becomes of their connection.
struct RequestAdmission {
  /// What is to be done about a request.
  enum Action {
    /// Nothing: it waits, or was seen before and needs no answer.
    case none
    /// To be executed. Each of these is followed by `replied` with `isLast`, once.
    case serve(IncomingRequest, Charge)
    /// It was executed before: this is its reply.
    case answerAgain(Frame)
    /// It is answered with this error.
    case refuse(Header, Errno)
  }

  /// What an executing request takes, until its last reply.
  struct Charge: Sendable, Equatable {
    /// The connection that it came in on, as a count.
    let connection: UInt64
    /// Bytes of the backlog that are kept for its answer.
    var reserved = 0
    /// Memory of the request.
    var bytes = RequestBytes()
  }

  /// Whether anything is served at all.
  let isServing: Bool
  /// Bytes of unsent replies above which requests with long answers wait.
  let backlogLimit: Int
  /// How many requests the peer may have here at once, and the memory that they may take.
  let limit: Int
  let bound: RequestBytes

  private(set) var slots: SlotTable
  /// The connection in use, as a count, and the first one whose requests `slots` knows.
  private(set) var connection: UInt64 = 0
  private var slotsSince: UInt64 = 0
  /// Requests under way, of all connections; and those of the connection in use.
  private(set) var executing = 0
  private(set) var executingHere = 0
  /// Memory of the executing requests, of all connections.
  private(set) var executingBytes = RequestBytes()
  /// Memory of the requests of the connection in use, parked and executing.
  private(set) var bytesHere = RequestBytes()
  /// Bytes of replies that the executing requests may add to the backlog.
  private(set) var reserved = 0
  /// Requests that wait until the backlog has shrunk, or those of an earlier connection have ended, in their order.
  private(set) var parked = Deque<IncomingRequest>()
  /// Whether every further request must wait behind these.
  private var parksAll = false
  /// Whether this side has let go of the session.
  private var hasEnded = false
  /// Requests on the next connection that have overtaken its hello, on the other lane.
  private var early: [IncomingRequest] = []
  private var earlyBytes = RequestBytes()

  /// - Parameters:
  ///   - isServing: whether there is an export.
  ///   - backlog: bytes of unsent replies above which requests with long answers wait.
  ///   - writeCredit: bytes of the data of writes that the peer was granted.
  ///   - limit: how many requests the peer may have here at once: the number of slots, at most 65,536.
  init(
    isServing: Bool, backlog: Int, writeCredit: Int, limit: Int = Limits.Session.requests,
    bytes: Int = Limits.Session.requestBytes
  ) {
    self.isServing = isServing
    backlogLimit = backlog
    bound = RequestBytes(data: writeCredit, others: bytes)
    self.limit = limit
    slots = SlotTable(count: limit)
  }

  /// Whether no request is here, and none that was is still counted.
  var isIdle: Bool {
    executing == 0 && executingHere == 0 && reserved == 0 && executingBytes == RequestBytes()
      && parked.isEmpty && bytesHere == RequestBytes()
  }

  // MARK: - Connections

  /// The peer has greeted on the next connection, which is in use from now on. `connection`: its number, which grows.
  /// `isNewPeer`: the peer's program was started since, and knows nothing of earlier requests.
  /// - Returns: the requests that came in on it before, to be given to `receive` in this order.
  mutating func connected(_ connection: UInt64, isNewPeer: Bool) -> [IncomingRequest] {
    self.connection = connection
    disconnected()
    executingHere = 0
    bytesHere = RequestBytes()
    if isNewPeer {
      slots = SlotTable(count: limit)
      slotsSince = connection
    }
    defer { forgetEarly() }
    return early
  }

  /// The connection in use is gone: its requests that were not begun are forgotten.
  mutating func disconnected() {
    for request in parked { bytesHere -= request.bytes }
    parked = []
    parksAll = false
  }

  /// The next connection is gone, or another one takes its place.
  mutating func forgetEarly() {
    early = []
    earlyBytes = RequestBytes()
  }

  /// This side lets go of the session. Executing requests still end, but their replies are not kept: an error of a program
  /// that ends was not the answer, and the next program is asked again.
  mutating func end() {
    disconnected()
    forgetEarly()
    hasEnded = true
  }

  // MARK: - Requests

  /// A request on the next connection, which the peer has not greeted on yet.
  mutating func receiveEarly(_ request: IncomingRequest, on lane: Lane) throws(MalformedMessage) {
    guard lane == .bulk else { throw MalformedMessage("a request before the hello") }
    guard early.count < limit else { throw .tooManyRequests(limit) }
    guard (earlyBytes + request.bytes).fits(in: bound) else { throw .tooManyBytes }
    earlyBytes += request.bytes
    early.append(request)
  }

  /// A request on the connection in use. `backlog`: bytes of unsent replies.
  mutating func receive(_ request: IncomingRequest, backlog: Int) throws(MalformedMessage) -> Action {
    guard isServing else { return .refuse(request.header, .noFunction) }
    guard executingHere + parked.count < limit else { throw .tooManyRequests(limit) }
    guard (bytesHere + request.bytes).fits(in: bound) else { throw .tooManyBytes }
    guard slots.has(request.header.sequence) else { throw .noSlot(request.header) }
    // Together with those of an earlier connection there may be more than one peer's worth of them.
    if !hasPlace(for: request) { parksAll = true }
    let answer = request.summary.answerBytes
    guard !parksAll, answer == 0 || parked.isEmpty && hasRoom(for: answer, backlog) else {
      bytesHere += request.bytes
      parked.append(request)
      return .none
    }
    return begin(request)
  }

  /// The next parked request, if it need not wait any longer; to be called again until it returns nil, whenever the
  /// backlog has shrunk or a request has ended. `backlog`: bytes of unsent replies.
  mutating func unpark(backlog: Int) -> Action? {
    guard let request = parked.first, hasPlace(for: request) else { return nil }
    let answer = request.summary.answerBytes
    guard answer == 0 || hasRoom(for: answer, backlog) else { return nil }
    parked.removeFirst()
    bytesHere -= request.bytes
    if parked.isEmpty { parksAll = false }
    return begin(request)
  }

  /// A reply to an executing request. `reply`: the message, which is kept if the request changes something.
  /// - Returns: whether it is to be sent on the connection in use, and whether it was kept for good.
  mutating func replied(
    _ reply: Frame, to header: Header, _ charge: Charge, isLast: Bool
  ) -> (isSent: Bool, isKept: Bool) {
    // A peer that was started again numbers its requests anew: it must not get the replies to older ones.
    let changes = Operation(rawValue: header.operation)?.changes ?? false
    let isKept = changes && charge.connection >= slotsSince && !hasEnded
    if isKept { slots.record(reply, for: header.sequence) }
    let isHere = charge.connection == connection
    if isLast {
      executing -= 1
      executingBytes -= charge.bytes
      reserved -= charge.reserved
      if isHere {
        executingHere -= 1
        bytesHere -= charge.bytes
      }
    }
    // The reply to a change is sent on whatever connection there is now; anything else is asked for again.
    return (isSent: isKept || isHere, isKept)
  }

  /// Whether the peer reads its replies. The backlog holds at most the long replies that have room, short ones besides,
  /// and `ownBytes` of this side's requests.
  func readsReplies(backlog: Int, ownBytes: Int) -> Bool {
    let replies = max(backlogLimit, backlogLimit / 2 + Limits.Wire.read)
    return backlog <= replies + Limits.Session.shortAnswers + ownBytes
  }

  // MARK: - Inside

  /// Whether one more may be executed, counting those of all connections.
  private func hasPlace(for request: IncomingRequest) -> Bool {
    executing < limit && (executingBytes + request.bytes).fits(in: bound)
  }

  /// Whether a reply of `answer` bytes may be begun. One that exceeds the backlog by itself may when half of it is
  /// free: `LinkReceiver.drainMark` sees to it that this is looked at again.
  private func hasRoom(for answer: Int, _ backlog: Int) -> Bool {
    let taken = reserved + backlog
    return taken + answer <= backlogLimit || reserved == 0 && taken < backlogLimit / 2
  }

  private mutating func begin(_ request: IncomingRequest) -> Action {
    switch slots.admit(request.header.sequence, changes: request.summary.changes) {
    // `receive` has seen to it that there is such a slot.
    case .ignore, .violation: return .none
    case .answer(let reply): return .answerAgain(reply)
    case .execute: break
    }
    let charge = Charge(connection: connection, reserved: request.summary.answerBytes, bytes: request.bytes)
    executing += 1
    executingHere += 1
    executingBytes += charge.bytes
    bytesHere += charge.bytes
    reserved += charge.reserved
    return .serve(request, charge)
  }
}

extension MalformedMessage {
  fileprivate static let tooManyBytes = MalformedMessage("its requests take more memory than it was granted")
  fileprivate static func tooManyRequests(_ limit: Int) -> MalformedMessage {
    MalformedMessage("more than \(limit) requests at once")
  }
  fileprivate static func noSlot(_ header: Header) -> MalformedMessage {
    MalformedMessage("a request in slot \(SlotTable.slot(of: header.sequence)), use \(header.sequence >> 16)")
  }
}

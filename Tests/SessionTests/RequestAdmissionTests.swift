import P2PFSCore
import P2PFSWire
import SystemPackage
import Testing

@testable import P2PFSSession

/// Which requests of a peer are executed, wait, are answered again, or break the protocol: without a connection.
@Suite struct RequestAdmissionTests {
  private var admission = RequestAdmission(isServing: true, backlog: 1_000, writeCredit: 4_096, limit: 4)

  init() { _ = admission.connected(1, isNewPeer: false) }

  /// A request in a slot.
  private func request(
    _ request: Request = look, slot: UInt64, use: UInt64 = 1
  ) throws -> IncomingRequest {
    let frame = request.encoded()
    frame.number(use << 16 | slot)
    var reader = Reader(frame)
    return IncomingRequest(try Header(&reader), frame)
  }
  private func read(_ count: UInt32, slot: UInt64) throws -> IncomingRequest {
    try request(.read(Handle(rawValue: 1), offset: 0, count: count), slot: slot)
  }
  private func write(_ count: Int, slot: UInt64) throws -> IncomingRequest {
    let data = FrameSlice(Frame(copying: [UInt8](repeating: 0, count: count)), 0..<count)
    return try request(.write(Handle(rawValue: 1), offset: 0, data), slot: slot)
  }
  private mutating func receive(_ request: IncomingRequest, backlog: Int = 0) throws -> RequestAdmission.Action {
    try admission.receive(request, backlog: backlog)
  }
  /// Whether a request breaks the protocol.
  private mutating func breaks(_ request: IncomingRequest, early lane: Lane? = nil) -> Bool {
    do {
      if let lane {
        try admission.receiveEarly(request, on: lane)
      } else {
        _ = try admission.receive(request, backlog: 0)
      }
      return false
    } catch { return true }
  }
  private mutating func unparks(backlog: Int) -> Bool { admission.unpark(backlog: backlog) != nil }
  private mutating func finish(_ action: RequestAdmission.Action) -> (isSent: Bool, isKept: Bool)? {
    guard case .serve(let request, let charge) = action else { return nil }
    return admission.replied(Frame.reply(to: request.header), to: request.header, charge, isLast: true)
  }

  @Test mutating func `a change that comes again is answered again and not executed`() throws {
    let first = try receive(request(directory, slot: 0))
    guard case .serve = first else { return #expect(Bool(false), "\(first)") }
    // Still executing: nothing to answer with.
    guard case .none = try receive(request(directory, slot: 0)) else { return #expect(Bool(false)) }
    let outcome = finish(first)
    #expect(outcome?.isSent == true && outcome?.isKept == true)
    let again = try receive(request(directory, slot: 0))
    guard case .answerAgain = again else { return #expect(Bool(false), "\(again)") }
    // An earlier use of the slot is long over; a later one is new.
    let later = try receive(request(directory, slot: 0, use: 3))
    guard case .serve = later, case .none = try receive(request(directory, slot: 0, use: 2)) else {
      return #expect(Bool(false))
    }
    _ = finish(later)
    #expect(admission.isIdle)
  }

  @Test mutating func `a query that comes again is executed again`() throws {
    for _ in 0..<2 {
      let action = try receive(request(slot: 3))
      let outcome = finish(action)
      #expect(outcome?.isSent == true && outcome?.isKept == false)
    }
  }

  @Test mutating func `a change with the number of a query is not executed again and again`() throws {
    let first = try receive(request(slot: 0))
    _ = finish(first)
    for _ in 0..<2 {
      guard case .none = try receive(request(directory, slot: 0)) else { return #expect(Bool(false), "executed") }
    }
    #expect(admission.isIdle)
  }

  @Test mutating func `more requests than slots, than memory and slots that do not exist break the protocol`() throws {
    let broken1 = try breaks(request(slot: 4))
    #expect(broken1)
    let broken2 = try breaks(request(slot: 1, use: 0))
    #expect(broken2)
    let broken3 = try breaks(write(4_097, slot: 0))
    #expect(broken3)
    var actions: [RequestAdmission.Action] = []
    for slot in UInt64(0)..<4 { actions.append(try receive(request(slot: slot))) }
    let broken4 = try breaks(request(slot: 0))
    #expect(broken4)
    for action in actions { _ = finish(action) }
    #expect(admission.isIdle)
  }

  @Test mutating func `a parked request is held to the same slots`() throws {
    _ = try receive(read(900, slot: 0))
    let broken5 = try breaks(read(900, slot: 9))
    #expect(broken5)
    #expect(admission.parked.isEmpty)
  }

  @Test mutating func `long answers wait for the backlog in their order, short ones pass`() throws {
    let first = try receive(read(900, slot: 0))
    guard case .none = try receive(read(900, slot: 1)), case .none = try receive(read(1, slot: 2)) else {
      return #expect(Bool(false), "it did not wait")
    }
    let passing = try receive(request(slot: 3))
    guard case .serve = passing else { return #expect(Bool(false), "a short answer waits") }
    #expect(admission.parked.count == 2)
    let unparks0 = unparks(backlog: 0)
    #expect(!unparks0)
    _ = finish(first)
    // The answer has left the reservation and stands in the backlog.
    let unparks900 = unparks(backlog: 900)
    #expect(!unparks900)
    let (second, third) = (admission.unpark(backlog: 100), admission.unpark(backlog: 99))
    guard case .serve(let request, _)? = second, let second, let third else { return #expect(Bool(false)) }
    #expect(SlotTable.slot(of: request.header.sequence) == 1)
    for action in [passing, second, third] { _ = finish(action) }
    #expect(admission.isIdle)
  }

  @Test mutating func `an answer that exceeds the backlog by itself has room when half of it is free`() throws {
    guard case .none = try receive(read(5_000, slot: 0), backlog: 500) else { return #expect(Bool(false)) }
    let unparks500 = unparks(backlog: 500)
    #expect(!unparks500)
    let unparks499 = unparks(backlog: 499)
    #expect(unparks499)
  }

  @Test mutating func `requests of a lost connection count on, and those of the next wait behind them`() throws {
    var old: [RequestAdmission.Action] = []
    for slot in UInt64(0)..<4 { old.append(try receive(request(directory, slot: slot))) }
    admission.disconnected()
    _ = admission.connected(2, isNewPeer: false)
    // All slots are taken by what runs: these are other requests, which wait, and everything behind them.
    for slot in UInt64(0)..<4 {
      guard case .none = try receive(request(slot: slot, use: 2)) else { return #expect(Bool(false)) }
    }
    let unparks0 = unparks(backlog: 0)
    #expect(!unparks0)
    #expect(admission.executing == 4)
    // The reply to a change is sent on the new connection; its slot was used anew only by what waits.
    let outcome = finish(old[0])
    #expect(outcome?.isSent == true && outcome?.isKept == true)
    let next = admission.unpark(backlog: 0)
    #expect(next != nil && admission.executing == 4)
    for action in old.dropFirst() + [next].compactMap({ $0 }) { _ = finish(action) }
    while let action = admission.unpark(backlog: 0) { _ = finish(action) }
    #expect(admission.isIdle)
  }

  @Test mutating func `what was parked or came early is forgotten with its connection`() throws {
    _ = try receive(read(900, slot: 0))
    _ = try receive(read(900, slot: 1))
    try admission.receiveEarly(request(slot: 2), on: .bulk)
    admission.disconnected()
    admission.forgetEarly()
    let left = admission.connected(2, isNewPeer: false)
    #expect(left.isEmpty && admission.parked.isEmpty)
    // The slot table never knew the parked one.
    guard case .none = try receive(read(900, slot: 1)) else { return #expect(Bool(false)) }
    #expect(admission.parked.count == 1)
  }

  @Test mutating func `requests that overtake the hello wait for it, on the bulk lane only`() throws {
    let broken6 = try breaks(request(slot: 0), early: .control)
    #expect(broken6)
    for slot in UInt64(0)..<4 { try admission.receiveEarly(request(slot: slot), on: .bulk) }
    let broken7 = try breaks(request(slot: 0), early: .bulk)
    #expect(broken7)
    let early = admission.connected(2, isNewPeer: false)
    #expect(early.count == 4)
    try admission.receiveEarly(write(4_000, slot: 0), on: .bulk)
    let broken8 = try breaks(write(97, slot: 1), early: .bulk)
    #expect(broken8)
  }

  @Test mutating func `a peer that was started again gets no reply to what it asked before`() throws {
    let old = try receive(request(directory, slot: 0))
    _ = admission.connected(2, isNewPeer: true)
    let new = try receive(request(directory, slot: 0))
    guard case .serve = new else { return #expect(Bool(false), "it counts as seen") }
    let outcome = finish(old)
    #expect(outcome?.isSent == false && outcome?.isKept == false)
    let outcomeOfNew = finish(new)
    #expect(outcomeOfNew?.isKept == true && admission.isIdle)
  }

  @Test mutating func `a query of a lost connection is answered to nobody`() throws {
    let old = try receive(request(slot: 0))
    _ = admission.connected(2, isNewPeer: false)
    let outcome = finish(old)
    #expect(outcome?.isSent == false && outcome?.isKept == false && admission.isIdle)
  }

  @Test mutating func `an error of a program that ends is not kept as the answer`() throws {
    let action = try receive(request(directory, slot: 0))
    admission.end()
    let outcome = finish(action)
    #expect(outcome?.isKept == false && admission.isIdle)
  }

  @Test mutating func `without an export every request is refused`() throws {
    admission = RequestAdmission(isServing: false, backlog: 1_000, writeCredit: 0)
    guard case .refuse(_, .noFunction) = try receive(request(slot: 0)) else { return #expect(Bool(false)) }
    #expect(admission.isIdle)
  }

  @Test func `a peer that reads no replies is told from one that asks for much`() {
    let most = 500 + Limits.Wire.read + Limits.Session.shortAnswers
    #expect(admission.readsReplies(backlog: most, ownBytes: 0))
    #expect(!admission.readsReplies(backlog: most + 1, ownBytes: 0))
    #expect(admission.readsReplies(backlog: most + 1, ownBytes: 1))
  }
}

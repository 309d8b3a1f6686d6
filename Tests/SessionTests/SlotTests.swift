import P2PFSCore
import P2PFSWire
import Synchronization
import SystemPackage
import Rig
import Testing

@testable import P2PFSSession

/// The exporter's memory of what was asked.
@Suite struct SlotTableTests {
  private func number(_ count: UInt64, slot: UInt64) -> UInt64 { count << 16 | slot }
  private func reply(_ sequence: UInt64, more: Bool = false) -> Frame {
    let frame = Frame.reply(to: Header(kind: .request, operation: Operation.mkdir.rawValue, sequence: sequence))
    frame.setMore(more)
    return frame
  }
  private enum Seen: Equatable { case execute, answer(UInt64), ignore, violation }
  private func seen(_ verdict: SlotTable.Verdict) throws -> Seen {
    switch verdict {
    case .execute: return .execute
    case .ignore: return .ignore
    case .violation: return .violation
    case .answer(let frame):
      var reader = Reader(frame)
      let header = try Header(&reader)
      #expect(!header.more)
      return .answer(header.sequence)
    }
  }

  @Test func `a change runs once, and is answered from memory as often as it is asked for`() throws {
    var table = SlotTable(count: 4)
    let first = number(1, slot: 3)
    #expect(try seen(table.admit(first, changes: true)) == .execute)
    #expect(try seen(table.admit(first, changes: true)) == .ignore)
    table.record(reply(first, more: true), for: first)
    for _ in 0..<3 { #expect(try seen(table.admit(first, changes: true)) == .answer(first)) }
    // Only its first reply is kept.
    table.record(Frame.reply(to: Header(kind: .request, sequence: 99)), for: first)
    #expect(try seen(table.admit(first, changes: true)) == .answer(first))
    // Other slots know nothing of it.
    #expect(try seen(table.admit(number(1, slot: 0), changes: true)) == .execute)
  }

  @Test func `the next request of a slot ends the one before`() throws {
    var table = SlotTable(count: 4)
    let (first, second) = (number(1, slot: 2), number(5, slot: 2))
    _ = table.admit(first, changes: true)
    #expect(try seen(table.admit(second, changes: true)) == .execute)
    table.record(reply(first), for: first)
    // An answer of the one before is not taken for that of this one.
    #expect(try seen(table.admit(second, changes: true)) == .ignore)
    #expect(try seen(table.admit(first, changes: true)) == .ignore)
    table.record(reply(second), for: second)
    #expect(try seen(table.admit(second, changes: true)) == .answer(second))
  }

  @Test func `a question is done again, and keeps nothing`() throws {
    var table = SlotTable(count: 4)
    let first = number(1, slot: 1)
    for _ in 0..<2 {
      #expect(try seen(table.admit(first, changes: false)) == .execute)
      table.record(reply(first), for: first)
    }
  }

  @Test func `numbers that no slot can have are told apart`() throws {
    var table = SlotTable(count: 4)
    #expect(try seen(table.admit(number(1, slot: 4), changes: true)) == .violation)
    #expect(try seen(table.admit(number(0, slot: 1), changes: true)) == .violation)
    #expect(try seen(table.admit(.max, changes: true)) == .violation)
    table.record(reply(.max), for: .max)
    #expect(try seen(table.admit(number(UInt64.max >> 16, slot: 0), changes: true)) == .execute)
  }
}

/// The client's requests without an answer.
@Suite struct PendingRequestsTests {
  /// The names of the requests that were completed, in order.
  private final class Completed: Sendable {
    let names = Mutex<[String]>([])
    func body(_ name: String) -> @Sendable (Reply) -> Void { { _ in self.names.withLock { $0.append(name) } } }
  }
  private let completed = Completed()
  private let mkdir = Request.mkdir(Path.root, mode: 0)
  private let lookup = Request.lookup(.path(.root))

  private func header(_ frame: Frame) throws -> Header {
    var reader = Reader(frame)
    return try Header(&reader)
  }
  private func answer(_ frame: Frame, more: Bool = false) throws -> Header {
    var header = try header(frame)
    (header.kind, header.more) = (.reply, more)
    return header
  }
  private func add(_ name: String, _ request: Request, to table: inout PendingRequests) -> (
    frame: Frame, send: Bool, ticket: UInt64
  ) {
    let frame = request.encoded()
    let (send, ticket) = table.add(
      frame, on: .control, changes: request.operation.changes, completion: completed.body(name))
    return (frame, send, ticket)
  }
  private func ids(_ sent: [(frame: Frame, lane: Lane)]) -> [ObjectIdentifier] {
    sent.map { ObjectIdentifier($0.frame) }
  }
  private func ids(_ frames: Frame...) -> [ObjectIdentifier] { frames.map { ObjectIdentifier($0) } }
  private func complete(_ header: Header, in table: inout PendingRequests) -> (found: Bool, isFree: Bool) {
    let (completion, isFree) = table.completion(for: header)
    completion?(.failed(.ioError))
    return (completion != nil, isFree)
  }

  @Test func `those without a slot wait, and go in their order when one is free`() throws {
    var table = PendingRequests(limit: 2)
    let all = ["a", "b", "c", "d"].map { add($0, lookup, to: &table) }
    #expect(all.map(\.send) == [true, true, false, false] && table.count == 4)
    #expect(table.promote().isEmpty)
    holds(complete(try answer(all[1].frame), in: &table) == (true, true))
    let next = table.promote()
    #expect(next.count == 1 && next[0].frame === all[2].frame)
    // The slot is the same, its use another.
    let (old, new) = (try answer(all[1].frame), try answer(all[2].frame))
    #expect(SlotTable.slot(of: old.sequence) == SlotTable.slot(of: new.sequence) && new.sequence > old.sequence)
    holds(complete(old, in: &table) == (false, false))
    // A newer one does not overtake those that wait.
    holds(!add("e", lookup, to: &table).send)
    holds(complete(try answer(all[0].frame), in: &table).found)
    #expect(ids(table.promote()) == ids(all[3].frame))
    #expect(completed.names.withLock { $0 } == ["b", "a"])
  }

  @Test func `a slot is taken until the last reply, and only by an answer to what was asked`() throws {
    var table = PendingRequests(limit: 1)
    let (first, second) = (add("a", lookup, to: &table), add("b", lookup, to: &table))
    holds(complete(try answer(first.frame, more: true), in: &table) == (true, false))
    var other = try answer(first.frame)
    other.operation = Operation.mkdir.rawValue
    holds(!complete(other, in: &table).found)
    holds(complete(try answer(first.frame), in: &table) == (true, true))
    holds(!complete(try answer(first.frame), in: &table).found)
    #expect(ids(table.promote()) == ids(second.frame))
    #expect(completed.names.withLock { $0 } == ["a", "a"])
  }

  @Test func `what was abandoned is not completed, but holds its slot until it is answered`() throws {
    var table = PendingRequests(limit: 1)
    let all = ["a", "b", "c"].map { add($0, mkdir, to: &table) }
    table.abandon(all[0].ticket)
    table.abandon(all[1].ticket)
    table.abandon(4_711)
    // The one that had not been sent is gone.
    #expect(table.promote().isEmpty)
    #expect(table.count == 2)
    holds(complete(try answer(all[0].frame), in: &table) == (false, true))
    #expect(ids(table.promote()) == ids(all[2].frame))
    holds(complete(try answer(all[2].frame), in: &table) == (true, false))
    #expect(table.count == 0 && table.messageBytes == 0 && completed.names.withLock { $0 } == ["c"])
  }

  @Test func `a new connection gets what has a slot, in its first order`() throws {
    var table = PendingRequests(limit: 3)
    let all = ["a", "b", "c"].map { add($0, lookup, to: &table) }
    _ = complete(try answer(all[0].frame), in: &table)
    // It is in the first slot, and came last.
    let last = add("d", mkdir, to: &table)
    #expect(ids(table.sent()) == ids(all[1].frame, all[2].frame, last.frame))
  }

  @Test func `a peer that forgot makes changes fail that were sent, and all else goes on`() throws {
    var table = PendingRequests(limit: 2)
    let all = [("a", mkdir), ("b", lookup), ("c", mkdir), ("d", lookup)].map { add($0.0, $0.1, to: &table) }
    for completion in table.removeUndecided() { completion(.failed(.ioError)) }
    #expect(completed.names.withLock { $0 } == ["a"] && table.count == 3)
    #expect(ids(table.sent()) == ids(all[1].frame))
    #expect(ids(table.promote()) == ids(all[2].frame))
    // A late answer to what is gone finds nothing.
    holds(!complete(try answer(all[0].frame), in: &table).found)
    for completion in table.removeAll() { completion(.failed(.ioError)) }
    #expect(completed.names.withLock { $0 } == ["a", "b", "c", "d"])
    #expect(table.count == 0 && table.messageBytes == 0)
  }

  @Test func `bytes bound those in slots, and one always may`() throws {
    let cost = RequestBytes(of: lookup.encoded(), operation: Operation.lookup.rawValue).others
    var table = PendingRequests(limit: 10, bytes: cost * 2)
    let all = (0..<4).map { add("\($0)", lookup, to: &table) }
    #expect(all.map(\.send) == [true, true, false, false])
    _ = complete(try answer(all[0].frame), in: &table)
    #expect(table.promote().count == 1)
    var small = PendingRequests(limit: 10, bytes: 1)
    holds(add("a", lookup, to: &small).send && !add("b", lookup, to: &small).send)
  }

  @Test func `a peer that takes fewer at once gets fewer`() throws {
    var table = PendingRequests(limit: 4)
    let all = (0..<4).map { add("\($0)", lookup, to: &table) }
    table.restrict(to: 2)
    for one in all { _ = complete(try answer(one.frame), in: &table) }
    let more = (0..<4).map { add("more \($0)", lookup, to: &table) }
    #expect(more.map(\.send) == [true, true, false, false])
    let slots = try more.prefix(2).map { SlotTable.slot(of: try header($0.frame).sequence) }
    #expect(slots.allSatisfy { $0 < 2 })
    // Never none, and never more than before.
    table.restrict(to: 0)
    table.restrict(to: 100)
    _ = complete(try answer(more[0].frame), in: &table)
    _ = complete(try answer(more[1].frame), in: &table)
    #expect(table.promote().count == 1)
  }
}

import P2PFSCore
import Testing

@testable import P2PFSMount

@Suite struct `Questions asked twice` {
  private typealias Table = Detours<String, Int>

  private let mkdir = Question(kind: .mkdir, node: 2, name: [97], detail: [0o755])
  private let before = [NameBefore(directory: 2, name: [97], node: nil)]
  private let now = Instant(nanoseconds: 1_000_000_000_000)

  private func isHold(_ step: Table.Step) -> Bool { if case .hold = step { true } else { false } }
  private func isKnown(_ step: Table.Step) -> Bool { if case .known = step { true } else { false } }
  private func isNone(_ step: Table.Step) -> Bool { if case .none = step { true } else { false } }

  @Test func `lookups wait for the result, then see what was there before, and the question gets it`() {
    var table = Table()
    #expect(table.mayBegin(7, now))
    table.begin(mkdir, before, "change", by: 7)
    #expect(!table.mayBegin(7, now))
    let (own, other) = (table.lookup([100], in: 1, by: 7, now), table.lookup([100], in: 1, by: 8, now))
    #expect(isHold(own) && table.holds(7))
    #expect(isNone(other) && !table.holds(8))
    let isHeld = table.hold(42, for: 7)
    let held = table.settle(7, now)
    #expect(isHeld && held == [42])
    let isHeldLate = table.hold(43, for: 7)
    #expect(!isHeldLate && !table.holds(7))
    let (above, name) = (table.lookup([100], in: 1, by: 7, now), table.lookup([97], in: 2, by: 7, now))
    #expect(isKnown(above))
    if case .before(let node) = name { #expect(node == nil) } else { Issue.record("the name is not as it was") }
    let asked = table.ask(mkdir, by: 7, now)
    #expect(asked.joined == "change" && asked.forsaken == nil && table.isEmpty)
  }

  @Test func `a question that comes before its result is joined as well`() {
    var table = Table()
    table.begin(mkdir, before, "change", by: 7)
    let asked = table.ask(mkdir, by: 7, now)
    let held = table.settle(7, now)
    #expect(asked.joined == "change" && held.isEmpty)
  }

  @Test func `a lookup can be the question itself`() {
    var table = Table()
    table.begin(Question(kind: .lookup, node: 2, name: [97]), [], "lookup", by: 7)
    let (other, same) = (table.lookup([98], in: 2, by: 7, now), table.lookup([97], in: 2, by: 7, now))
    #expect(isHold(other))
    if case .join(let change) = same { #expect(change == "lookup") } else { Issue.record("it is not known again") }
    #expect(table.isEmpty)
  }

  @Test func `a thread is not answered ESTALE a second time for a while, for whatever reason`() {
    var table = Table()
    table.begin(mkdir, before, "change", by: 7)
    _ = table.ask(mkdir, by: 7, now)
    table.note(stale: 8, now)
    let soon = now.advanced(by: Limits.Mount.detour / 2)
    let late = now.advanced(by: Limits.Mount.detour + 1)
    #expect(!table.mayBegin(7, soon) && !table.mayBegin(8, soon) && table.mayBegin(9, soon))
    #expect(table.mayBegin(7, late) && table.mayBegin(8, late))
    #expect(!table.mayBegin(0, late), "a thread that cannot be seen")
  }

  @Test func `a thread that asks for something else, or nothing, does not want to know any more`() {
    var table = Table()
    table.begin(mkdir, before, "first", by: 7)
    let other = Question(kind: .mkdir, node: 2, name: [98], detail: [0o755])
    let asked = table.ask(other, by: 7, now)
    #expect(asked.joined == nil && asked.forsaken == "first")
    table.begin(mkdir, before, "second", by: 7)
    let late = now.advanced(by: Limits.Mount.settled + 1)
    let early = table.expire(late)
    #expect(early.isEmpty, "it has no result yet")
    _ = table.settle(7, now)
    let (soon, expired) = (table.expire(now), table.expire(late))
    #expect(soon.isEmpty && expired == ["second"])
  }

  @Test func `there are only so many`() {
    var table = Table()
    for thread in 1...Int32(Limits.Mount.detours) { table.begin(mkdir, before, "", by: thread) }
    #expect(!table.mayBegin(100_000, now) && !table.hasRoom)
  }

  @Test(arguments: [
    ("7 (touch) D 1 7 1 0 -1 4194304 0", true), ("7 (a) b) D 1 7 1 0 -1 4194304 0", true),
    ("7 (touch) S 1 7 1 0 -1 4194304 0", false), ("7 (kworker) D 2 0 0 0 -1 69238880 0", false), ("7", false),
    ("", false),
  ]) func `who sleeps where no signal reaches it`(stat: String, isBlocked: Bool) {
    #expect(ProcessThread.isBlocked(stat: stat) == isBlocked)
  }
}

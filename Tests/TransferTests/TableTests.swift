import P2PFSCore
import P2PFSWire
import Rig
import Synchronization
import SystemPackage
import Testing

@testable import P2PFSTransfer

/// The names at the top that the user has agreed to.
@Suite struct OfferedNamesTests {
  private func offered(_ names: [String], tops: UInt64? = nil) -> OfferedNames {
    var offer = TransferMessage.Offer()
    offer.names = names.map { Array($0.utf8) }
    offer.tops = tops ?? UInt64(names.count)
    return OfferedNames(offer)
  }
  private func path(_ text: String) throws -> Path { try Path(Array(text.utf8)) }

  @Test func `each comes once, in order, with all that is in it`() throws {
    var names = offered(["a", "b", "c"])
    for text in ["a", "a/x", "a/x/y", "b", "c/z"] { try names.take(path(text)) }
    for text in ["a", "b/x", "d"] { #expect(throws: MalformedMessage.self) { try names.take(path(text)) } }
    // The one that is under way goes on.
    try names.take(path("c/w"))
  }

  @Test func `one may be left out, and does not come later`() throws {
    var names = offered(["a", "b", "c"])
    try names.take(path("b"))
    #expect(throws: MalformedMessage.self) { try names.take(path("a")) }
    try names.take(path("c"))
  }

  @Test func `a name is the whole name`() throws {
    var names = offered(["ab"])
    for text in ["a", "abc", "a/b"] { #expect(throws: MalformedMessage.self) { try names.take(path(text)) } }
    try names.take(path("ab/c"))
  }

  @Test func `those that were only counted come behind the told ones, and are no more than that`() throws {
    var names = offered(["a", "b"], tops: 4)
    try names.take(path("a"))
    try names.take(path("x"))
    // Behind an untold one no told one comes.
    #expect(throws: MalformedMessage.self) { try names.take(path("b")) }
    try names.take(path("y"))
    #expect(throws: MalformedMessage.self) { try names.take(path("z")) }
  }

  @Test func `an offer of nothing takes nothing`() throws {
    var names = offered([])
    #expect(throws: MalformedMessage.self) { try names.take(path("a")) }
  }
}

/// The directories whose times are set in the end.
@Suite struct DirectoryTableTests {
  private let time = Timestamp(seconds: 7, nanoseconds: 8)
  private func entry(_ path: String) throws -> TransferEntry {
    TransferEntry(.directory, mode: 0o755, modified: time, path: try Path(Array(path.utf8)))
  }

  @Test func `the innermost are settled first, each with its own`() throws {
    var table = DirectoryTable()
    let paths = ["a", "a/b", "a/b/c", "d"]
    for (number, path) in paths.enumerated() {
      holds(table.add(UInt64(number), try entry(path), mode: number == 1 ? nil : 0o700 + UInt32(number)))
    }
    var seen: [String] = []
    var modes: [UInt32?] = []
    table.settle(
      by: { path, changes in
        seen.append(String(decoding: path.bytes, as: UTF8.self))
        modes.append(changes.mode)
        #expect(changes.modified == .set(time))
      }, failed: { _, _, _ in Issue.record("nothing has failed") })
    #expect(seen == paths.reversed())
    #expect(modes == [0o703, 0o702, nil, 0o700])
  }

  @Test func `what fails is told, but not that somebody else's directory stays as it is`() throws {
    var table = DirectoryTable()
    for (number, path) in ["a", "b", "c"].enumerated() {
      holds(table.add(UInt64(number), try entry(path), mode: path == "a" ? nil : 0o755))
    }
    var failed: [(UInt64, Errno)] = []
    table.settle(
      by: { path, _ throws(Errno) in if path.bytes.first != UInt8(ascii: "c") { throw .notPermitted } },
      failed: { number, _, error in failed.append((number, error)) })
    #expect(failed.map(\.0) == [1] && failed.map(\.1) == [.notPermitted])
  }

  @Test func `its paths are bounded`() throws {
    var table = DirectoryTable()
    let long = try entry([String](repeating: String(repeating: "x", count: 200), count: 20).joined(separator: "/"))
    var count = 0
    while table.add(UInt64(count), long, mode: nil) { count += 1 }
    #expect(count == Limits.Transfer.directoryBytes / long.path.bytes.count)
  }
}

/// A queue between two threads.
@Suite(.onThreads) struct BlockingQueueTests {
  @Test func `it holds the one that is faster, and keeps the order`() {
    let queue = BlockingQueue<Int>(limit: 4)
    let pushed = Counter()
    let pusher = Worker("pusher") {
      for number in 0..<1_000 {
        queue.push(number)
        pushed.add()
      }
      queue.close()
    }
    #expect(eventually { pushed.value == 4 })
    var got: [Int] = []
    while let number = queue.pop() {
      got.append(number)
      #expect(pushed.value <= number + 5)
    }
    #expect(got == Array(0..<1_000))
    pusher.join()
  }

  @Test func `closing it ends both waits, and leaves what is in it`() {
    let queue = BlockingQueue<Int>(limit: 1)
    queue.push(1)
    let pusher = Worker("pusher") { queue.push(2) }
    queue.close()
    pusher.join()
    #expect(queue.popIfThere() == 1 && queue.pop() == nil && queue.popIfThere() == nil)
    let empty = BlockingQueue<Int>(limit: 1)
    let ended = Counter()
    let popper = Worker("popper") { if empty.pop() == nil { ended.add() } }
    empty.close()
    popper.join()
    #expect(ended.value == 1)
    empty.push(3)
    #expect(empty.pop() == nil)
  }
}

import P2PFSCore
import P2PFSWire
import SystemPackage
import Rig
import Testing

@testable import P2PFSExport

/// Who runs next among several guests.
@Suite struct WorkQueueTurnTests {
  private let bounds = WorkQueue<String>.Bounds(
    waiting: 1_000, running: 4, runningOfSession: 4, allOfSession: 8, slowOfSession: 2)
  private let now = Instant(nanoseconds: 1_000_000_000)

  @Test func `guests take turns, however much one of them asks for`() {
    var queue = WorkQueue<String>(bounds)
    for session in 1...3 { queue.add(session) }
    for number in 0..<900 { holds(queue.enqueue("\(number)", use: nil, isSlow: false, of: 1)) }
    for session in 2...3 {
      for number in 0..<9 { holds(queue.enqueue("\(number)", use: nil, isSlow: false, of: session)) }
    }
    var order: [Int] = []
    while order.count < 27, let job = queue.next(at: now) {
      order.append(job.session)
      queue.finish(job.number)
    }
    for session in 1...3 { #expect(order.count { $0 == session } == 9) }
    // And nobody waits longer than a round.
    for start in order.indices.dropLast(4) { #expect(Set(order[start..<start + 4]).count >= 2) }
  }

  @Test func `one handle's changes keep their order among those of a hundred handles, whatever ends first`() {
    var queue = WorkQueue<(handle: UInt64, number: Int)>(
      .init(waiting: 10_000, running: 4, runningOfSession: 4, allOfSession: 8, slowOfSession: 2))
    queue.add(1)
    queue.add(2)
    var random = SystemRandomNumberGenerator()
    var given: [UInt64: Int] = [:]
    var begun: [UInt64: Int] = [:]
    var runs: [(job: UInt64, handle: UInt64, isExclusive: Bool)] = []
    func key(_ session: Int, _ handle: UInt64) -> UInt64 { UInt64(session) << 32 | handle }
    for step in 0..<20_000 {
      if step < 6_000 {
        let (session, handle) = (Int.random(in: 1...2), UInt64.random(in: 0..<100, using: &random))
        let number = given[key(session, handle), default: 0]
        given[key(session, handle)] = number + 1
        let isQueued = queue.enqueue(
          (key(session, handle), number), use: .init(handle: handle, isExclusive: Bool.random(using: &random)),
          isSlow: .random(using: &random), of: session)
        #expect(isQueued)
      }
      if Bool.random(using: &random), let job = queue.next(at: now) {
        let (handle, number) = job.payload
        let isExclusive = job.use?.isExclusive ?? false
        // Alone, or beside readers only.
        #expect(!runs.contains { $0.handle == handle && ($0.isExclusive || isExclusive) })
        // A change comes behind all that were asked before it, and none of those after it has begun.
        if isExclusive { #expect(begun[handle, default: 0] == number) }
        begun[handle, default: 0] += 1
        runs.append((job.number, handle, isExclusive))
      } else if let index = runs.indices.randomElement(using: &random) {
        queue.finish(runs.remove(at: index).job)
      }
    }
    while true {
      for run in runs { queue.finish(run.job) }
      runs = []
      guard let job = queue.next(at: now) else { break }
      begun[job.payload.handle, default: 0] += 1
      runs.append((job.number, job.payload.handle, false))
    }
    #expect(begun == given)
  }

  @Test func `a guest that is gone, or has too much, is refused`() {
    var queue = WorkQueue<String>(.init(waiting: 2, running: 1, runningOfSession: 1, allOfSession: 1, slowOfSession: 1))
    holds(!queue.enqueue("a", use: nil, isSlow: false, of: 1))
    queue.add(1)
    holds(queue.enqueue("a", use: nil, isSlow: false, of: 1) && queue.enqueue("b", use: nil, isSlow: false, of: 1))
    holds(!queue.enqueue("c", use: nil, isSlow: false, of: 1))
    let job = queue.next(at: now)
    holds(queue.remove(1) == ["b"] && !queue.enqueue("d", use: nil, isSlow: false, of: 1))
    // What still runs ends without harm.
    if let job { queue.finish(job.number) }
    #expect(!queue.hasQuick && queue.next(at: now) == nil)
  }
}

/// Which devices are mounts of p2pfs.
@Suite struct MountedDevicesTests {
  private func devices(_ lines: String...) -> [UInt64: Bool] {
    MountedDevices.devices(in: MountInfo(Array(lines.joined(separator: "\n").utf8)))
  }

  @Test func `they are told by their type, or by their source`() {
    #expect(
      devices(
        "36 35 0:40 / /a rw - fuse.p2pfs photos rw", "36 35 0:41 / /b rw shared:1 master:2 - fuse p2pfs#x rw",
        "36 35 0:42 / /c rw - fuse.sshfs p rw", "36 35 0:43 / /d rw - ext4 p2pfs rw",
        "36 35 8:1 / / rw - ext4 /dev/sda1")
        == [40: true, 41: true, 42: false, 43: false, 8 << 8 | 1: false])
  }

  @Test func `one of several places of a device is enough`() {
    #expect(
      devices("1 2 0:9 / /a rw - fuse.p2pfs x rw", "1 2 0:9 / /b rw - fuse.other x rw") == [9: true])
  }

  @Test func `large numbers are put together as st_dev is`() {
    #expect(devices("1 2 4096:1048576 / /a rw - ext4 x rw") == [0x1000_0000_0000 | 0x1_0000_0000: false])
  }

  @Test func `what is no line is left out`() {
    #expect(devices("", "1", "1 2", "1 2 3", "1 2 x:1 / /a rw - fuse.p2pfs x", "1 2 -1:1 / /a - t x").isEmpty)
    // A line that was cut off behind its place has a device, and nothing that says it is ours.
    #expect(devices("1 2 0:5", "1 2 0:6 / /a rw -") == [6: false])
  }
}

/// The handles of one session.
@Suite struct OpenFileTableTests {
  private func table(_ stock: OpenFileStock = OpenFileStock(0), limit: Int = 20) -> OpenFileTable {
    OpenFileTable(OpenFileAllowance(limit: limit), stock)
  }
  private func error(_ body: () throws(Errno) -> Void) -> Errno? {
    do {
      try body()
      return nil
    } catch { return error }
  }
  private func handle(_ number: UInt64) -> Handle { Handle(rawValue: number) }

  @Test func `a handle is one file's, from the wish to the end`() {
    let table = table()
    #expect(error { () throws(Errno) in try table.reserve(handle(1)) } == nil)
    #expect(error { () throws(Errno) in try table.reserve(handle(1)) } == .invalidArgument)
    #expect(error { () throws(Errno) in _ = try table.file(handle(1)) } == .badFileDescriptor)
    #expect(table.knows(handle(1)) && !table.knows(handle(2)) && table.count == 1)
    // It could not be opened.
    table.fill(handle(1), nil)
    #expect(!table.knows(handle(1)) && table.count == 0)
    #expect(error { () throws(Errno) in _ = try table.remove(handle(1)) } == .badFileDescriptor)
  }

  @Test func `a handle that is dead says why until it is buried`() {
    let table = table()
    table.lay(handle(3), .ioError)
    #expect(table.knows(handle(3)))
    #expect(error { () throws(Errno) in _ = try table.file(handle(3)) } == .ioError)
    #expect(table.bury(handle(3)) && !table.bury(handle(3)))
    #expect(error { () throws(Errno) in _ = try table.file(handle(3)) } == .badFileDescriptor)
  }

  @Test func `dead ones count among those that there may be`() {
    let table = table()
    for number in 0..<4 { table.lay(handle(UInt64(number)), .ioError) }
    var reserved: UInt64 = 100
    while error({ () throws(Errno) in try table.reserve(handle(reserved)) }) == nil { reserved += 1 }
    #expect(reserved == 104)
    table.lay(handle(99), .ioError)
    #expect(!table.knows(handle(99)))
  }

  @Test func `when it has ended nothing is opened, and the stock has all of it again`() {
    let stock = OpenFileStock(2)
    do {
      let table = OpenFileTable(OpenFileAllowance(limit: 20_000), stock)
      var count: UInt64 = 0
      while error({ () throws(Errno) in try table.reserve(handle(count)) }) == nil { count += 1 }
      #expect(!stock.take())
      table.end()
      #expect(table.count == 0)
      #expect(error { () throws(Errno) in try table.reserve(handle(1)) } == .ioError)
      // What was on its way to be opened comes too late.
      table.fill(handle(1), nil)
    }
    #expect(stock.take() && stock.take() && !stock.take())
  }
}

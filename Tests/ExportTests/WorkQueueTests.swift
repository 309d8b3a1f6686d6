import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// Which request runs next, and on which threads.
@Suite struct WorkQueueTests {
  private typealias Queue = WorkQueue<String>
  private let bounds = Queue.Bounds(waiting: 100, running: 4, runningOfSession: 3, allOfSession: 6, slowOfSession: 2)
  private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: 1_000_000_000).advanced(by: seconds) }

  private func enqueue(
    _ queue: inout Queue, _ payload: String, use: Queue.HandleUse?, isSlow: Bool, of session: Int
  ) {
    let isQueued = queue.enqueue(payload, use: use, isSlow: isSlow, of: session)
    #expect(isQueued)
  }

  /// Takes all that may run.
  private func takeAll(_ queue: inout Queue, at time: Double = 0) -> [Queue.Job] {
    var jobs: [Queue.Job] = []
    while let job = queue.next(at: at(time)) { jobs.append(job) }
    #expect(!queue.hasNext)
    return jobs
  }

  @Test func `slow requests take no place of quick ones, and cannot take all of their session`() {
    var queue = Queue(bounds)
    queue.add(1)
    for number in 1...5 { enqueue(&queue, "slow\(number)", use: nil, isSlow: true, of: 1) }
    for number in 1...5 { enqueue(&queue, "quick\(number)", use: nil, isSlow: false, of: 1) }
    let jobs = takeAll(&queue)
    #expect(jobs.map(\.payload) == ["slow1", "slow2", "quick1", "quick2", "quick3"])
    queue.finish(jobs[2].number)
    #expect(takeAll(&queue).map(\.payload) == ["quick4"])
    queue.finish(jobs[0].number)
    #expect(takeAll(&queue).map(\.payload) == ["slow3"])
  }

  @Test func `a close waits for no fsync of another file`() {
    #expect(P2PFSWire.Operation.allCases.filter(\.isSlow) == [.fsync])
    var queue = Queue(bounds)
    queue.add(1)
    for number in 1...8 {
      enqueue(
        &queue, "fsync", use: .init(handle: UInt64(number), isExclusive: false),
        isSlow: P2PFSWire.Operation.fsync.isSlow,
        of: 1)
    }
    enqueue(
      &queue, "close", use: .init(handle: 9, isExclusive: true), isSlow: P2PFSWire.Operation.close.isSlow, of: 1)
    #expect(takeAll(&queue).map(\.payload) == ["fsync", "fsync", "close"])
  }

  @Test func `two sessions whose requests hang leave a third all it needs`() {
    var queue = Queue(bounds)
    for session in 1...3 { queue.add(session) }
    for session in 1...2 {
      for number in 1...20 { enqueue(&queue, "\(session).\(number)", use: nil, isSlow: false, of: session) }
    }
    var hung = takeAll(&queue)
    #expect(hung.count == 4)
    for round in 1...4 {
      queue.setAside(startedBefore: at(Double(round)))
      hung += takeAll(&queue, at: Double(round))
    }
    // Each has what one session may have, and no more.
    #expect(hung.filter { $0.session == 1 }.count == 6 && hung.filter { $0.session == 2 }.count == 6)
    for number in 1...5 { enqueue(&queue, "3.\(number)", use: nil, isSlow: false, of: 3) }
    let jobs = takeAll(&queue, at: 9)
    #expect(jobs.map(\.payload) == ["3.1", "3.2", "3.3"])
    for job in jobs + hung { queue.finish(job.number) }
    #expect(takeAll(&queue).count == 4)
  }

  @Test func `requests of one handle keep their order, slow or quick`() {
    var queue = Queue(bounds)
    queue.add(1)
    let alone = Queue.HandleUse(handle: 7, isExclusive: true)
    let beside = Queue.HandleUse(handle: 7, isExclusive: false)
    enqueue(&queue, "write", use: alone, isSlow: false, of: 1)
    enqueue(&queue, "fsync", use: beside, isSlow: true, of: 1)
    enqueue(&queue, "read", use: beside, isSlow: false, of: 1)
    enqueue(&queue, "close", use: alone, isSlow: true, of: 1)
    enqueue(&queue, "other", use: nil, isSlow: false, of: 1)
    let first = takeAll(&queue)
    #expect(first.map(\.payload) == ["write", "other"])
    queue.setAside(startedBefore: at(1))
    queue.finish(first[0].number)
    let second = takeAll(&queue)
    #expect(second.map(\.payload) == ["fsync", "read"])
    queue.finish(second[0].number)
    #expect(takeAll(&queue).isEmpty)
    queue.finish(second[1].number)
    #expect(takeAll(&queue).map(\.payload) == ["close"])
  }

  @Test func `what was taken out of the queue is not kept alive by it`() {
    final class Token: Sendable {}
    var queue = WorkQueue<Token>()
    queue.add(1)
    weak var taken: Token?
    weak var dropped: Token?
    do {
      let tokens = (Token(), Token(), Token())
      (taken, dropped) = (tokens.0, tokens.2)
      _ = queue.enqueue(tokens.0, use: nil, isSlow: false, of: 1)
      _ = queue.enqueue(tokens.1, use: nil, isSlow: false, of: 1)
      _ = queue.enqueue(tokens.2, use: .init(handle: 1, isExclusive: true), isSlow: true, of: 1)
      if let job = queue.next(at: .now) { queue.finish(job.number) }
      if let job = queue.next(at: .now) { queue.finish(job.number) }
    }
    #expect(taken == nil || dropped == nil)
    _ = queue.drain(1)
    #expect(taken == nil && dropped == nil)
  }

  /// Each piece of work is a closure.
  private func pool() -> WorkerPool<@Sendable () -> Void> {
    WorkerPool {
    } perform: { work, _ in
      work()
    }
  }

  @Test func `quick work goes on while slow work and stuck work hang`() throws {
    let pool = pool()
    let (first, second) = (pool.addSession(), pool.addSession())
    let isOpen = Monitor(false)
    let done = Atomic(0)
    let seen = Shared(done)
    for session in [first, second] {
      for isSlow in [true, true, true, true, true, true, false, false, false, false] {
        let queued = pool.enqueue(
          {
            isOpen.wait { $0 ? () : nil }
            seen.add()
          }, use: nil, isSlow: isSlow, of: session)
        #expect(queued)
      }
    }
    for session in [first, second] {
      let start = Instant.now
      let answered = Monitor(0)
      for _ in 0..<20 {
        let queued = pool.enqueue({ answered.change { $0 += 1 } }, use: nil, isSlow: false, of: session)
        #expect(queued)
      }
      let isDone: Bool? = answered.wait(until: start.advanced(by: 5)) { $0 == 20 ? true : nil }
      #expect(isDone == true)
      #expect(Instant.now.seconds(since: start) < 2)
    }
    #expect(seen.value == 0)
    isOpen.change { $0 = true }
    let deadline = Instant.now.advanced(by: 5)
    while seen.value < 20, Instant.now < deadline { usleep(1_000) }
    #expect(seen.value == 20)
    pool.stop()
    let queued = pool.enqueue({}, use: nil, isSlow: false, of: first)
    #expect(!queued)
  }

  private final class Shared: Sendable {
    private let count: Atomic<Int>
    init(_ count: consuming Atomic<Int>) { self.count = count }
    var value: Int { count.load(ordering: .relaxed) }
    func add() { count.add(1, ordering: .relaxed) }
  }
}

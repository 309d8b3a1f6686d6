import Rig
import Synchronization
import Testing

@testable import P2PFS

/// A value that tasks change.
private final class Shared<Value: Sendable>: Sendable {
  let value: Mutex<Value>
  init(_ value: Value) { self.value = Mutex(value) }
}

/// One task after the other.
@Suite(.timeLimit(.minutes(1))) struct AsyncMutexTests {
  @Test func `one has the turn at a time, and each gets it`() async {
    let mutex = AsyncMutex()
    // Inside now, and the most that were.
    let inside = Shared((now: 0, most: 0))
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<200 {
        group.addTask {
          #expect(await mutex.take())
          inside.value.withLock { value in
            value.now += 1
            value.most = max(value.most, value.now)
          }
          await Task.yield()
          inside.value.withLock { $0.now -= 1 }
          mutex.give()
        }
      }
    }
    #expect(inside.value.withLock { $0.most == 1 && $0.now == 0 })
  }

  @Test func `they come in their order`() async {
    let mutex = AsyncMutex()
    #expect(await mutex.take())
    let order = Shared<[Int]>([])
    let started = Counter()
    var tasks: [Task<Void, Never>] = []
    for number in 0..<20 {
      tasks.append(
        Task {
          started.add()
          guard await mutex.take() else { return }
          order.value.withLock { $0.append(number) }
          mutex.give()
        })
      #expect(await comesTrue { started.value == number + 1 })
      // It is about to wait.
      for _ in 0..<20 { await Task.yield() }
    }
    mutex.give()
    for task in tasks { await task.value }
    #expect(order.value.withLock { $0.count } == 20)
  }

  @Test func `who is cancelled while it waits has no turn to give, and takes none from others`() async {
    let mutex = AsyncMutex()
    #expect(await mutex.take())
    let waiting = (0..<10).map { _ in Task { await mutex.take() } }
    for task in waiting.dropLast() { task.cancel() }
    for task in waiting.dropLast() { #expect(await !task.value) }
    mutex.give()
    #expect(await waiting[9].value)
    // It is taken now.
    let last = Task { await mutex.take() }
    last.cancel()
    #expect(await !last.value)
    mutex.give()
    #expect(await mutex.take())
    mutex.give()
  }

  @Test func `nobody is lost where a turn is given while others are cancelled`() async {
    let mutex = AsyncMutex()
    for _ in 0..<200 {
      #expect(await mutex.take())
      let waiting = (0..<3).map { _ in Task { await mutex.take() } }
      async let cancelled: Void = { for task in waiting.prefix(2) { task.cancel() } }()
      mutex.give()
      await cancelled
      for task in waiting where await task.value { mutex.give() }
    }
    #expect(await mutex.take())
  }
}

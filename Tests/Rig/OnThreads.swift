import CP2PFSLinux
import DequeModule
import Glibc
import P2PFSCore
import Synchronization
package import Testing

/// Runs tests on threads of their own, a bounded number at once: so they may block, as programs that use files and
/// sockets do, without taking from Swift concurrency the few threads that it has for the tasks of the program under test.
///
/// Child tasks of a test run there, too; what the program starts by `Task { }` does not.
package struct OnThreads: TestTrait, SuiteTrait, TestScoping {
  package var isRecursive: Bool { true }
  /// How much of `TestGate.width` it takes.
  let weight: Int
  /// Whether the test has been let in, by a trait further out.
  @TaskLocal private static var isIn = false

  /// Of a suite's and a test's own the heavier counts.
  package func scopeProvider(for test: Test, testCase: Test.Case?) -> OnThreads? {
    let all = test.traits.compactMap { $0 as? OnThreads }
    return testCase == nil || all.contains { $0.weight > weight } ? nil : self
  }

  package func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard !OnThreads.isIn else { return try await function() }
    await TestGate.shared.enter(weight)
    defer { TestGate.shared.leave(weight) }
    try await withTaskExecutorPreference(TestThreads.shared) {
      try await OnThreads.$isIn.withValue(true) { try await function() }
    }
  }
}

extension Trait where Self == OnThreads {
  /// The suite's tests may block: each runs on a thread, beside those of other suites.
  package static var onThreads: OnThreads { OnThreads(weight: 1) }
  /// As `onThreads`, for tests that start programs of their own: fewer run at once.
  package static var heavy: OnThreads { OnThreads(weight: TestGate.width / 4) }
  /// As `onThreads`, and nothing else runs meanwhile: for tests that measure the process or the machine.
  package static var alone: OnThreads { OnThreads(weight: TestGate.width) }
}

/// Lets tests in, a bounded number at once. The latest goes first, so that a suite whose tests run one after the other
/// is not kept waiting behind all the rest each time.
private final class TestGate: Sendable {
  private struct State {
    var taken = 0
    var waiting: [(weight: Int, continuation: CheckedContinuation<Void, Never>)] = []
  }

  static let shared = TestGate()
  /// Most tests wait more than they work, and some measure: more at once than this would only have them time out.
  static let width = 8
  private let state = Mutex(State())

  func enter(_ weight: Int) async {
    await withCheckedContinuation { continuation in
      state.withLock { state in
        state.waiting.append((weight, continuation))
        admit(&state)
      }
    }
  }

  func leave(_ weight: Int) {
    state.withLock { state in
      state.taken -= weight
      admit(&state)
    }
  }

  private func admit(_ state: inout State) {
    // Those that want it for themselves come when no other waits.
    while let index = state.waiting.lastIndex(where: { $0.weight < TestGate.width }) ?? state.waiting.indices.last,
      state.taken + state.waiting[index].weight <= TestGate.width
    {
      let next = state.waiting.remove(at: index)
      state.taken += next.weight
      next.continuation.resume()
    }
  }
}

/// Threads that run whatever tasks prefer them, each with a umask and a working directory of its own.
private final class TestThreads: TaskExecutor {
  static let shared = TestThreads()
  private let jobs = Monitor(Deque<UnownedJob>())

  private init() {
    // All at the beginning, and from here: a thread that is made where a task goes on would inherit what that thread
    // may not do any more, such as the exporter's workers.
    for _ in 0..<64 {
      Worker.detached("test") { [self] in
        precondition(p2pfs_own_umask() == 0)
        umask(0o022)
        TestThreads.isCurrent.set()
        while true {
          let job = jobs.take { jobs in (jobs.popFirst(), false) }
          job.runSynchronously(on: asUnownedTaskExecutor())
        }
      }
    }
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    jobs.update { jobs in
      jobs.append(job)
      return ((), wakesOne: true)
    }
  }

  /// Marks the threads that may be blocked.
  static let isCurrent = ThreadMark()
}

/// Says of a thread, to itself, that it is one of some kind.
private final class ThreadMark: Sendable {
  private let key: pthread_key_t
  init() {
    var key = pthread_key_t()
    precondition(pthread_key_create(&key, nil) == 0)
    self.key = key
  }
  func set() { pthread_setspecific(key, UnsafeRawPointer(bitPattern: 1)) }
  var isSet: Bool { pthread_getspecific(key) != nil }
}

/// Whether the caller may block: not on a thread of Swift concurrency.
package var mayBlock: Bool { TestThreads.isCurrent.isSet }

import Glibc
import P2PFSCore
import Synchronization
package import Testing

/// Asks again every 5 ms, on this thread, until `condition` holds; false if it does not within `seconds`.
package func eventually(within seconds: Double = 10, _ condition: () throws -> Bool) rethrows -> Bool {
  // A thread of the test's own has no current test.
  if Test.current != nil, !mayBlock { Issue.record("this test blocks: give its suite the trait .onThreads") }
  let end = Instant.now.advanced(by: seconds)
  while try !condition() {
    if Instant.now >= end { return try condition() }
    usleep(5_000)
  }
  return true
}

/// Asks again every 10 ms, by a task, until `condition` holds; false if it does not within `seconds`. The thread is free for other
/// tasks meanwhile.
package func comesTrue(
  within seconds: Double = 60, isolation: isolated (any Actor)? = #isolation, _ condition: () async throws -> Bool
) async rethrows -> Bool {
  let end = Instant.now.advanced(by: seconds)
  while try await !condition() {
    if Instant.now >= end { return try await condition() }
    try? await Task.sleep(for: .milliseconds(10))
  }
  return true
}

/// As `#expect`, for a condition whose evaluation changes a value: the macro takes none.
package func holds(_ condition: Bool, at location: SourceLocation = #_sourceLocation) {
  #expect(condition, sourceLocation: location)
}

/// A number that threads and tasks count up together.
package final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  package init() {}
  package var value: Int { count.load(ordering: .relaxed) }
  package func add(_ amount: Int = 1) { count.add(amount, ordering: .relaxed) }
}

import Glibc

/// A value that threads of their own wait for: a lock, and a condition that is told of each change (POSIX calls them
/// pthread_mutex_t and pthread_cond_t). Never to be waited on by a thread of Swift concurrency, or of another layer.
package final class Monitor<Value>: @unchecked Sendable {
  // Under `lock`.
  private var value: Value
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let change = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  /// Guards `value`.
  package init(_ value: sending Value) {
    self.value = value
    pthread_mutex_init(lock, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(change, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(change)
    pthread_mutex_destroy(lock)
    change.deallocate()
    lock.deallocate()
  }

  /// Changes the value, and has those who wait look at it again.
  package func change<Result>(_ body: (inout Value) -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer {
      pthread_cond_broadcast(change)
      pthread_mutex_unlock(lock)
    }
    return body(&value)
  }

  /// Waits until `body` gives something, which it is asked now and after each change. What it gives may go with a change
  /// of its own.
  package func wait<Result>(_ body: (inout Value) -> Result?) -> Result {
    pthread_mutex_lock(lock)
    defer {
      pthread_cond_broadcast(change)
      pthread_mutex_unlock(lock)
    }
    while true {
      if let result = body(&value) { return result }
      pthread_cond_wait(change, lock)
    }
  }

  /// As `wait`, until `deadline` at most; nil then.
  package func wait<Result>(until deadline: Instant, _ body: (inout Value) -> Result?) -> Result? {
    pthread_mutex_lock(lock)
    defer {
      pthread_cond_broadcast(change)
      pthread_mutex_unlock(lock)
    }
    var time = timespec(
      tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
    while true {
      if let result = body(&value) { return result }
      if pthread_cond_timedwait(change, lock, &time) == ETIMEDOUT { return body(&value) }
    }
  }

  // MARK: - Where any of those who wait will do

  /// As `change`, but tells only one of those who wait, and nobody unless `body` says so.
  package func update<Result>(_ body: (inout Value) -> (Result, wakesOne: Bool)) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    let (result, wakesOne) = body(&value)
    if wakesOne { pthread_cond_signal(change) }
    return result
  }

  /// As `wait`, but tells others as `update` does.
  package func take<Result>(_ body: (inout Value) -> (Result?, wakesOne: Bool)) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    while true {
      let (result, wakesOne) = body(&value)
      if wakesOne { pthread_cond_signal(change) }
      if let result { return result }
      pthread_cond_wait(change, lock)
    }
  }
}

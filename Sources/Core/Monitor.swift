import Glibc

/// A value that dedicated threads wait for: a mutex, and a condition variable that is signalled after each change.
/// Never wait on a thread of Swift concurrency, or of another layer.
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

  /// Changes the value, and wakes all waiting threads.
  package func change<Result>(_ body: (inout Value) -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer {
      pthread_cond_broadcast(change)
      pthread_mutex_unlock(lock)
    }
    return body(&value)
  }

  /// Waits until `body` returns a value; it is called now and after each change, and may change the value itself.
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

  /// Like `wait`, until `deadline` at most; then nil.
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

  // MARK: - Where any one waiting thread will do

  /// Like `change`, but wakes only one waiting thread, and none unless `body` returns true.
  package func update<Result>(_ body: (inout Value) -> (Result, wakesOne: Bool)) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    let (result, wakesOne) = body(&value)
    if wakesOne { pthread_cond_signal(change) }
    return result
  }

  /// Like `wait`, but wakes others as `update` does.
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

import CP2PFSFuse3
import Glibc

/// A queue that a thread waits on.
package final class Mailbox<Message: Sendable>: @unchecked Sendable {
  // Everything below is under `lock`.
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let arrival = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var messages: [Message] = []
  private var isClosed = false

  /// An empty queue.
  package init() {
    pthread_mutex_init(lock, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(arrival, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(arrival)
    pthread_mutex_destroy(lock)
    arrival.deallocate()
    lock.deallocate()
  }

  /// Puts a message behind the others and wakes who waits. False once the queue is closed.
  @discardableResult
  package func post(_ message: Message) -> Bool {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    guard !isClosed else { return false }
    messages.append(message)
    pthread_cond_signal(arrival)
    return true
  }

  /// Takes no more messages; those that are there can still be collected.
  package func close() {
    pthread_mutex_lock(lock)
    isClosed = true
    pthread_cond_broadcast(arrival)
    pthread_mutex_unlock(lock)
  }

  /// Waits for messages, at most `timeout` seconds if given, and takes all that are there: none when the time
  /// is over. nil once the queue is closed and empty.
  package func collect(timeout: Double? = nil) -> [Message]? {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    if messages.isEmpty, !isClosed, let timeout {
      var end = timespec()
      clock_gettime(CLOCK_MONOTONIC, &end)
      let nanoseconds = end.tv_nsec + Int(timeout * 1e9)
      end.tv_sec += nanoseconds / 1_000_000_000
      end.tv_nsec = nanoseconds % 1_000_000_000
      while messages.isEmpty, !isClosed, pthread_cond_timedwait(arrival, lock, &end) != ETIMEDOUT {}
    } else {
      while messages.isEmpty, !isClosed { pthread_cond_wait(arrival, lock) }
    }
    guard !messages.isEmpty || !isClosed else { return nil }
    defer { messages.removeAll(keepingCapacity: messages.count < 1024) }
    return messages
  }
}

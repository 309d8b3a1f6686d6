internal import DequeModule
internal import Glibc

/// A queue between two threads, which waits when it is full and when it is empty.
final class BlockingQueue<Element: Sendable>: @unchecked Sendable {
  // All three under `lock`.
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let change = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var elements = Deque<Element>()
  private var isClosed = false
  private let limit: Int

  /// An empty queue for at most `limit` elements.
  init(limit: Int) {
    self.limit = limit
    pthread_mutex_init(lock, nil)
    pthread_cond_init(change, nil)
  }

  deinit {
    pthread_cond_destroy(change)
    pthread_mutex_destroy(lock)
    change.deallocate()
    lock.deallocate()
  }

  /// Appends one; waits for room. Nothing happens once it is closed.
  func push(_ element: Element) {
    pthread_mutex_lock(lock)
    while elements.count >= limit, !isClosed { pthread_cond_wait(change, lock) }
    if !isClosed { elements.append(element) }
    pthread_cond_broadcast(change)
    pthread_mutex_unlock(lock)
  }

  /// Takes the first; waits for one. nil once it is closed and empty.
  func pop() -> Element? {
    pthread_mutex_lock(lock)
    while elements.isEmpty, !isClosed { pthread_cond_wait(change, lock) }
    let element = elements.popFirst()
    pthread_cond_broadcast(change)
    pthread_mutex_unlock(lock)
    return element
  }

  /// Takes the first if there is one.
  func popIfThere() -> Element? {
    pthread_mutex_lock(lock)
    let element = elements.popFirst()
    pthread_cond_broadcast(change)
    pthread_mutex_unlock(lock)
    return element
  }

  /// Nothing more comes. What is in it can still be taken.
  func close() {
    pthread_mutex_lock(lock)
    isClosed = true
    pthread_cond_broadcast(change)
    pthread_mutex_unlock(lock)
  }
}

import P2PFSCore
import Synchronization

/// How something stands, for any number of readers: each begins with how it stands then, and hears each change from there
/// on. From any thread.
final class ObservedValue<Element: Sendable & Equatable>: Sendable {
  private struct Reader { weak var queue: Queue<Element>? }

  private struct State {
    var now: Element
    var readers: [Reader] = []
    var isOver = false

    func tell(_ element: Element) { for reader in readers { reader.queue?.put(element) } }
  }

  private let state: Mutex<State>

  /// It stands so.
  init(_ now: Element) { state = Mutex(State(now: now)) }

  /// How it stands.
  var now: Element { state.withLock { $0.now } }

  /// It may have changed. `new` is looked at under the lock, so that of two reports at once the later look is told last.
  func change(to new: @autoclosure () -> Element) {
    state.withLock { state in
      let new = new()
      guard new != state.now else { return }
      state.now = new
      state.tell(new)
    }
  }

  /// Something happened that does not last: those who read now are told.
  func tell(_ element: Element) { state.withLock { $0.tell(element) } }

  /// It stays as it is. Readers end when they have heard all.
  func finish() {
    state.withLock { state in
      state.isOver = true
      for reader in state.readers { reader.queue?.finish() }
      state.readers = []
    }
  }

  /// A new reader's queue; it is forgotten with the last reference.
  func follow() -> Queue<Element> {
    let queue = Queue<Element>(limit: Limits.Library.updates)
    state.withLock { state in
      queue.put(state.now)
      if state.isOver {
        queue.finish()
      } else {
        state.readers.removeAll { $0.queue == nil }
        state.readers.append(Reader(queue: queue))
      }
    }
    return queue
  }
}

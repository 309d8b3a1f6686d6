import P2PFSCore
import DequeModule

/// A bounded queue between two threads. Appending blocks while it is full, taking blocks while it is empty.
final class BlockingQueue<Element: Sendable>: Sendable {
  private struct State {
    var elements = Deque<Element>()
    var isClosed = false
  }

  private let state = Monitor(State())
  private let limit: Int

  /// An empty queue of at most `limit` elements.
  init(limit: Int) { self.limit = limit }

  /// Appends an element, and blocks until there is room. Does nothing once the queue is closed.
  func push(_ element: Element) {
    state.wait { state -> Void? in
      guard !state.isClosed else { return () }
      guard state.elements.count < limit else { return nil }
      return state.elements.append(element)
    }
  }

  /// Removes the first element, and blocks until there is one. nil once the queue is closed and empty.
  func pop() -> Element? {
    state.wait { state -> Element?? in
      if let element = state.elements.popFirst() { return .some(element) }
      return state.isClosed ? .some(nil) : nil
    }
  }

  /// Removes the first element if there is one; never blocks.
  func popIfThere() -> Element? { state.change { $0.elements.popFirst() } }

  /// Accepts no more elements. Those in the queue can still be taken.
  func close() { state.change { $0.isClosed = true } }
}

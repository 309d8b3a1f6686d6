import P2PFSCore
import DequeModule

/// A queue between two threads, which waits when it is full and when it is empty.
final class BlockingQueue<Element: Sendable>: Sendable {
  private struct State {
    var elements = Deque<Element>()
    var isClosed = false
  }

  private let state = Monitor(State())
  private let limit: Int

  /// An empty queue for at most `limit` elements.
  init(limit: Int) { self.limit = limit }

  /// Appends one; waits for room. Nothing happens once it is closed.
  func push(_ element: Element) {
    state.wait { state -> Void? in
      guard !state.isClosed else { return () }
      guard state.elements.count < limit else { return nil }
      return state.elements.append(element)
    }
  }

  /// Takes the first; waits for one. nil once it is closed and empty.
  func pop() -> Element? {
    state.wait { state -> Element?? in
      if let element = state.elements.popFirst() { return .some(element) }
      return state.isClosed ? .some(nil) : nil
    }
  }

  /// Takes the first if there is one.
  func popIfThere() -> Element? { state.change { $0.elements.popFirst() } }

  /// Nothing more comes. What is in it can still be taken.
  func close() { state.change { $0.isClosed = true } }
}

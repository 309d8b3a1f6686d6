import DequeModule
import Synchronization

/// Things that come one after the other, each for one of those who ask. A reader that is cancelled takes nothing with it,
/// and the others go on, which AsyncStream does not give. From any thread.
final class Queue<Element: Sendable>: Sendable {
  /// What became of something that was put.
  enum Place {
    /// A reader has it.
    case handed
    /// It waits for one.
    case waiting
    /// Nobody will ever have it.
    case over
  }

  private struct State {
    var waiting: Deque<Element> = []
    var readers: Deque<(number: UInt64, continuation: CheckedContinuation<Element?, Never>)> = []
    var nextReader: UInt64 = 0
    var isOver = false
  }

  private let limit: Int
  private let state = Mutex(State())

  /// An empty one. At most `limit` things wait in it: the oldest goes when one more comes.
  init(limit: Int) { self.limit = limit }

  /// How many wait.
  var count: Int { state.withLock { $0.waiting.count } }

  /// Whether there will be no more.
  var isOver: Bool { state.withLock { $0.isOver } }

  /// Adds one. May be called with a lock held that no reader takes.
  @discardableResult
  func put(_ element: Element) -> Place {
    typealias Outcome = (place: Place, reader: CheckedContinuation<Element?, Never>?, dropped: Element?)
    // Released outside of the lock, as the reader is resumed: its cancellation takes the lock, too.
    let outcome = state.withLock { state -> Outcome in
      guard !state.isOver else { return (.over, nil, nil) }
      if let reader = state.readers.popFirst() { return (.handed, reader.continuation, nil) }
      state.waiting.append(element)
      return (.waiting, nil, state.waiting.count > limit ? state.waiting.popFirst() : nil)
    }
    outcome.reader?.resume(returning: element)
    return outcome.place
  }

  /// The next one; nil when there will be none, or the task was cancelled.
  func next() async -> Element? {
    let number = state.withLock { state in
      state.nextReader += 1
      return state.nextReader
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let result = state.withLock { state -> Element?? in
          if Task.isCancelled { return .some(nil) }
          if let element = state.waiting.popFirst() { return .some(element) }
          if state.isOver { return .some(nil) }
          state.readers.append((number, continuation))
          return .none
        }
        if let result { continuation.resume(returning: result) }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        state.readers.firstIndex { $0.number == number }.map { state.readers.remove(at: $0).continuation }
      }
      continuation?.resume(returning: nil)
    }
  }

  /// Takes out those that wait and are meant. In their order.
  func remove(where isMeant: (Element) -> Bool) -> [Element] {
    state.withLock { state in
      let removed = state.waiting.filter(isMeant)
      state.waiting.removeAll(where: isMeant)
      return Array(removed)
    }
  }

  /// There will be no more. What waits can still be had.
  func finish() {
    let readers = state.withLock { state in
      defer { (state.readers, state.isOver) = ([], true) }
      return state.readers
    }
    for reader in readers { reader.continuation.resume(returning: nil) }
  }
}

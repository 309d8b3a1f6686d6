import DequeModule
import Synchronization

/// Lets one task after the other, in the order in which they came. Nobody is suspended while nobody else has the turn.
final class AsyncMutex: Sendable {
  private struct State {
    var isTaken = false
    var waiting: Deque<(number: UInt64, continuation: CheckedContinuation<Bool, Never>)> = []
    var next: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Waits for the turn, which ends with `give`.
  /// - Returns: false if the task was cancelled before it came: there is nothing to give then.
  func take() async -> Bool {
    let number = state.withLock { state -> UInt64? in
      guard state.isTaken else {
        state.isTaken = true
        return nil
      }
      state.next += 1
      return state.next
    }
    guard let number else { return true }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let result = state.withLock { state -> Bool? in
          if Task.isCancelled { return false }
          guard state.isTaken else {
            state.isTaken = true
            return true
          }
          state.waiting.append((number, continuation))
          return nil
        }
        if let result { continuation.resume(returning: result) }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        state.waiting.firstIndex { $0.number == number }.map { state.waiting.remove(at: $0).continuation }
      }
      continuation?.resume(returning: false)
    }
  }

  /// Hands the turn to whoever is next.
  func give() {
    let continuation = state.withLock { state in
      if state.waiting.isEmpty { state.isTaken = false }
      return state.waiting.popFirst()?.continuation
    }
    continuation?.resume(returning: true)
  }
}

import Synchronization

/// An event that happens once, for any number of tasks that wait for it.
package final class OneShot: Sendable {
  private let state = Mutex<(hasHappened: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

  /// An event that has not happened.
  package init() {}

  /// It has happened. From any thread, any number of times.
  /// - Returns: whether this was the first time.
  @discardableResult
  package func fire() -> Bool {
    let (isFirst, waiters) = state.withLock { state in
      defer { state = (true, []) }
      return (!state.hasHappened, state.waiters)
    }
    for waiter in waiters { waiter.resume() }
    return isFirst
  }

  /// Waits until it has happened; also in a task that is cancelled.
  package func wait() async {
    await withCheckedContinuation { continuation in
      let hasHappened = state.withLock { state in
        if !state.hasHappened { state.waiters.append(continuation) }
        return state.hasHappened
      }
      if hasHappened { continuation.resume() }
    }
  }
}

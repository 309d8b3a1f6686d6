import P2PFSCore
import Synchronization

/// The times from the beginning of one try to that of the next: they grow, with some chance in them, so that many peers
/// do not come back in step. A change of the network ends the present wait. From any task.
final class Backoff: Sendable {
  /// Why a try has failed.
  enum Failure {
    /// Nobody was reached, which costs nobody anything.
    case unreachable
    /// Somebody was asked, in vain.
    case other
  }

  private struct State {
    var growth = BackoffGrowth()
    var began: Instant
    var sleep: Task<Void, Never>?
  }

  private let clock: Clock
  private let sleep: @Sendable (_ seconds: Double) async -> Void
  private let state: Mutex<State>

  /// A try begins now. `sleep` waits for some seconds, or until its task is cancelled.
  init(
    clock: Clock = .real,
    sleep: @escaping @Sendable (_ seconds: Double) async -> Void = { try? await Task.sleep(for: .seconds($0)) }
  ) {
    self.clock = clock
    self.sleep = sleep
    state = Mutex(State(began: clock.now))
  }

  /// A try begins.
  func begin() { state.withLock { $0.began = clock.now } }

  /// Waits until the next try may begin; returns early if the task is cancelled, or at `reset`.
  func wait(after failure: Failure = .other) async {
    let waiting = state.withLock { state in
      let spacing = state.growth.next(after: failure) * Double.random(in: 0.75...1.25)
      let left = spacing - clock.now.seconds(since: state.began)
      // A moment in any case, so that nothing that fails at once is tried in a loop.
      let waiting = Task { [sleep] in await sleep(max(left, 0.05)) }
      state.sleep = waiting
      return waiting
    }
    await withTaskCancellationHandler {
      await waiting.value
    } onCancel: {
      waiting.cancel()
    }
  }

  /// The waits are short again, and the present one is over: what made the tries fail may be past.
  func reset() {
    let sleep = state.withLock { state in
      state.growth = BackoffGrowth()
      return state.sleep
    }
    sleep?.cancel()
  }
}

/// How the times between tries grow. A plain value.
struct BackoffGrowth {
  private var spacing = 0.25
  private var redials = 0

  /// The time from the beginning of the try that has failed to that of the next, in seconds.
  mutating func next(after failure: Backoff.Failure) -> Double {
    var longest = Limits.Session.longestBackoff
    if failure == .unreachable {
      redials += 1
      longest = redials > Limits.Session.redials ? Limits.Session.laterRedial : Limits.Session.redial
    }
    let now = min(spacing, longest)
    spacing = min(now * 2, Limits.Session.longestBackoff)
    return now
  }
}

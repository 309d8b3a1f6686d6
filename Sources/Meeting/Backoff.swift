import P2PFSCore
import Synchronization

/// The times from the beginning of one try to that of the next: they grow, with some chance in them, so that many peers
/// do not come back in step. A change of the network ends the present wait. From any task.
final class Backoff: Sendable {
  /// Why a try has failed.
  enum Failure {
    /// Nobody was reached, which costs nobody anything.
    case unreachable
    /// The other side or the server went away meanwhile, as when it is started again: it may be back at any moment.
    case gone
    /// Somebody was asked, in vain.
    case other
  }

  private struct State {
    var growth = BackoffGrowth()
    var began = Instant.now
    var sleep: Task<Void, Never>?
  }

  private let state = Mutex(State())

  /// A try begins.
  func begin() { state.withLock { $0.began = .now } }

  /// Waits until the next try may begin; returns early if the task is cancelled, or at `reset`.
  func wait(after failure: Failure = .other) async {
    let sleep = state.withLock { state in
      let spacing = state.growth.next(after: failure) * Double.random(in: 0.75...1.25)
      let left = spacing - Instant.now.seconds(since: state.began)
      // A moment in any case, so that nothing that fails at once is tried in a loop.
      let sleep = Task { _ = try? await Task.sleep(for: .seconds(max(left, 0.05))) }
      state.sleep = sleep
      return sleep
    }
    await withTaskCancellationHandler {
      await sleep.value
    } onCancel: {
      sleep.cancel()
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

/// How the times between tries grow, for each kind of failure by itself: so that a server which was dialled in vain for a
/// while is not left alone for long when it is there and the other side is not yet. A plain value.
struct BackoffGrowth {
  /// How many tries have failed in each way.
  private var redials = 0
  private var returns = 0
  private var others = 0

  /// The time from the beginning of the try that has failed to that of the next, in seconds.
  mutating func next(after failure: Backoff.Failure) -> Double {
    typealias Bounds = Limits.Session
    switch failure {
    case .unreachable:
      redials += 1
      return spacing(redials, longest: redials > Bounds.redials ? Bounds.laterRedial : Bounds.redial)
    case .gone:
      // It was there.
      redials = 0
      returns += 1
      return spacing(returns, longest: returns > Bounds.returns ? Bounds.laterReturn : Bounds.return)
    case .other:
      redials = 0
      others += 1
      return spacing(others, longest: Bounds.longestBackoff)
    }
  }

  /// A quarter of a second, and twice as long each time.
  private func spacing(_ count: Int, longest: Double) -> Double {
    min(0.25 * Double(1 << min(count - 1, 8)), longest)
  }
}

import Core
import Session

/// Counts a session's time, once a second as long as it is not over.
enum SessionClock {
  /// Starts counting; the task ends with the session, or when cancelled.
  @discardableResult
  static func start(_ session: Session) -> Task<Void, Never> {
    Task {
      var last = Instant.now
      while !Task.isCancelled, session.status != .over {
        try? await Task.sleep(for: .seconds(1))
        let now = Instant.now
        session.tick(now.seconds(since: last))
        last = now
      }
    }
  }
}

/// Waits between tries that grow, with some chance in them, so that many peers do not come back in step.
struct Backoff {
  private var next = 0.25
  private let longest: Double

  /// Waits that grow up to `longest` seconds.
  init(longest: Double = Limits.Session.longestBackoff) { self.longest = longest }

  /// Sleeps; returns early if the task is cancelled.
  mutating func wait() async {
    let seconds = next * Double.random(in: 0.75...1.25)
    next = min(next * 2, longest)
    try? await Task.sleep(for: .seconds(seconds))
  }

  /// The next wait is short again.
  mutating func reset() { next = 0.25 }
}

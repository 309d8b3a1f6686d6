import P2PFSCore
import P2PFSSession

/// Counts a session's time as long as it is not over: once a second, and more often while something is under way.
enum SessionClock {
  /// Starts counting; the task ends with the session, or when cancelled.
  @discardableResult
  static func start(_ session: Session) -> Task<Void, Never> {
    Task {
      var last = Instant.now
      var step = Limits.Session.shortTick
      while !Task.isCancelled, session.status != .over {
        try? await Task.sleep(for: .seconds(step))
        let now = Instant.now
        step = session.tick(now.seconds(since: last))
        last = now
      }
    }
  }
}

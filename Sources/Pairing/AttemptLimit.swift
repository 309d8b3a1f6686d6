import P2PFSCore

/// The delay before an exporter replaces a spent code: none at first, then a minute, and twice as long each time, up to
/// `Limits.Pairing.longestRenewal`. Otherwise a patient attacker gets ten guesses again and again.
package struct RenewalPause: Sendable {
  private var following = 0.0

  /// No code was replaced yet.
  package init() {}

  /// Seconds to wait now that one more code is spent.
  package mutating func next() -> Double {
    defer {
      following =
        following == 0 ? Limits.Pairing.secondRenewal : min(following * 2, Limits.Pairing.longestRenewal)
    }
    return following
  }
}

/// Counts the wrong attempts at one code.
package struct AttemptLimit: Sendable, Equatable {
  /// Wrong attempts that are still allowed.
  package private(set) var left: Int

  /// Starts with `Limits.Pairing.attempts`, or with what a restarted exporter had `left`.
  package init(left: Int? = nil) {
    self.left = min(max(left ?? Limits.Pairing.attempts, 0), Limits.Pairing.attempts)
  }

  /// Whether the code must not be used any more.
  package var isSpent: Bool { left == 0 }

  /// Counts a wrong attempt; returns how many are left.
  @discardableResult
  package mutating func countWrong() -> Int {
    left = max(left - 1, 0)
    return left
  }
}

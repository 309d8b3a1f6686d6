internal import Core

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

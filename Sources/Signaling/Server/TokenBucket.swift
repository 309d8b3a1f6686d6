import P2PFSCore

/// A rate with a burst, as a plain value: time is an argument.
struct TokenBucket: Sendable {
  private let rate: Double
  private let burst: Double
  private var level: Double
  private var last: Instant

  /// Full at `now`; fills by `rate` a second up to `burst`.
  init(rate: Double, burst: Double, now: Instant) {
    self.rate = rate
    self.burst = burst
    level = burst
    last = now
  }

  /// Takes `amount` if it is there.
  mutating func take(_ amount: Double, now: Instant) -> Bool {
    level = min(burst, level + max(0, now.seconds(since: last)) * rate)
    last = now
    guard level >= amount else { return false }
    level -= amount
    return true
  }

  /// Whether nothing has been taken that has not come back.
  func isFull(now: Instant) -> Bool { level + max(0, now.seconds(since: last)) * rate >= burst }
}

import P2PFSCore

/// Paces sending: a token bucket of bytes that fills at a rate somewhat above the path's.
///
/// After a stall (of a thread, of the peer) acknowledgements arrive in a burst and would release a whole window at once,
/// more than queues on the path hold. The bucket allows bursts of 8 ms, and the rest at the rate.
/// A plain value: the clock is an argument.
struct Pacer: Sendable {
  private var level = 0.0
  private var filled = Instant(nanoseconds: 0)

  /// Longest burst, in seconds at the path's rate.
  static let burst = 0.008

  /// Asks for `count` bytes at `rate` bytes a second; 0 for no limit.
  /// - Returns: 0 if they may go now, or the seconds to wait before asking again.
  mutating func take(_ count: Int, rate: Double, at now: Instant) -> Double {
    guard rate > 0 else { return 0 }
    let most = max(Double(Limits.Transport.leastFlight), rate * Self.burst)
    level = min(most, level + max(0, now.seconds(since: filled)) * rate)
    filled = now
    // A message may be larger than the level: the level becomes negative, and the next message waits longer.
    guard level > 0 else { return max(0.0005, -level / rate) }
    level -= Double(count)
    return 0
  }
}

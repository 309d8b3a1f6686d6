import P2PFSCore

/// Spreads what is sent over time: a bucket of bytes that fills at a rate somewhat above the path's.
///
/// After a stall (of a thread, of the peer) acknowledgements come in a clump and would let a whole window go at once,
/// more than queues on the way hold. The bucket lets through what has gathered in 8 ms, and the rest at the rate.
/// A plain value: the clock is an argument.
struct Pacer: Sendable {
  private var level = 0.0
  private var filled = Instant(nanoseconds: 0)

  /// Longest clump, as a time at the path's rate.
  static let clump = 0.008

  /// Asks for `count` bytes at `rate` bytes a second; 0 for no limit.
  /// - Returns: 0 if they may go now, or the seconds to wait before asking again.
  mutating func take(_ count: Int, rate: Double, at now: Instant) -> Double {
    guard rate > 0 else { return 0 }
    let most = max(Double(Limits.Transport.leastFlight), rate * Self.clump)
    level = min(most, level + max(0, now.seconds(since: filled)) * rate)
    filled = now
    // A message may be larger than what is left: the bucket goes below zero for it, and the next waits longer.
    guard level > 0 else { return max(0.0005, -level / rate) }
    level -= Double(count)
    return 0
  }
}

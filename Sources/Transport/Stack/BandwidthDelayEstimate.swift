package import P2PFSCore

/// How many bytes may be in flight: the bandwidth-delay product of the path, measured all the time.
///
/// SCTP's congestion control finds a limit by overrunning the bottleneck's queue, and recovers from that in seconds.
/// So the data it gets is bounded by the largest delivery rate of late × the smallest round trip of late, as BBR
/// does (draft-cardwell-iccrg-bbr-congestion-control), times a gain that leaves room for acknowledgements in clumps
/// and for finding out that the path has become faster. What exceeds the product stands in the
/// bottleneck's queue, so even in startup the gain stays below the 2 that a queue of one product would hold.
///
/// ```
///  startup (gain 1.6: grows by that much every round trip)
///     │  the rate has not grown by a quarter in three round trips
///     ▼
///  steady (gain 1.25) ⇄ every 10 s for a moment: drain (gain 0.5), so that the smallest round trip is seen again
/// ```
/// A plain value: the clock is an argument.
package struct BandwidthDelayEstimate: Sendable {
  private enum Phase: Equatable {
    case startup
    case steady
    case drain(until: Instant)
  }

  private var phase = Phase.startup
  private var rates = WindowedMaximum()
  private var bestStartupRate = 0.0
  private var roundsWithoutGrowth = 0
  private var shortestRoundTrip = 0.0
  private var shortestAt = Instant(nanoseconds: 0)
  private var drainedRoundTrip = Double.infinity
  private let least: Int
  private let most: Int

  /// An estimate without a measurement.
  package init(least: Int = Limits.Transport.leastFlight, most: Int = Limits.Transport.flight) {
    self.least = least
    self.most = most
  }

  /// Bytes a second; 0 if not measured yet.
  package var rate: Double { rates.value }
  /// The shortest round trip of late, in seconds; 0 if not measured yet.
  package var roundTrip: Double { shortestRoundTrip }

  /// Bytes a second at which to send: above the path's rate, so that its growth is found. 0 if not measured yet.
  ///
  /// At least the floor of the window in a round trip: a peer that asks for one small thing after the other never shows
  /// the path's rate, and what it showed must not hold the next answer back.
  package var pace: Double {
    guard rates.value > 0, shortestRoundTrip > 0 else { return 0 }
    return max(rates.value * (phase == .startup ? 2.2 : 1.3), Double(least) / shortestRoundTrip)
  }

  /// How many bytes may be in flight now.
  package var window: Int {
    let gain: Double
    switch phase {
    case .startup: gain = 1.6
    case .steady: gain = 1.25
    case .drain: gain = 0.5
    }
    let product = rates.value * shortestRoundTrip * gain
    // The floor is added, not only a minimum: delayed acknowledgements and the rhythm of two threads take a part of
    // the window that does not depend on the path.
    let floor = phase == .startup || phase == .steady ? Double(least) : Double(least) / 2
    return Int(min(product + floor, Double(most)))
  }

  /// Takes in one round: a packet left, and was acknowledged `roundTrip` seconds later.
  /// - Parameters:
  ///   - delivered: bytes acknowledged from when the packet left until its own acknowledgement.
  ///   - interval: seconds between the last acknowledgement before the packet left and its own. At least the round trip;
  ///     it keeps a burst of acknowledgements from being taken for a rate.
  ///   - isLimited: whether during the round there was nothing more to send, so that the rate says little.
  package mutating func addRound(
    roundTrip: Double, delivered: Int, over interval: Double, isLimited: Bool, at now: Instant
  ) {
    guard roundTrip > 0, delivered >= 0 else { return }
    let rate = Double(delivered) / max(roundTrip, interval)
    if !isLimited || rate > rates.value {
      // Ten rounds, but long enough that one stall of a thread is not taken for the path's rate.
      rates.add(rate, at: now, window: max(1, 10 * shortestRoundTrip))
    }
    updateRoundTrip(roundTrip, at: now)
    if phase == .startup, !isLimited {
      if rates.value > bestStartupRate * 1.25 {
        bestStartupRate = rates.value
        roundsWithoutGrowth = 0
      } else {
        roundsWithoutGrowth += 1
        if roundsWithoutGrowth >= 3 { phase = .steady }
      }
    }
  }

  private mutating func updateRoundTrip(_ roundTrip: Double, at now: Instant) {
    if shortestRoundTrip == 0 || roundTrip <= shortestRoundTrip {
      shortestRoundTrip = roundTrip
      shortestAt = now
    }
    switch phase {
    case .steady where now.seconds(since: shortestAt) > 10:
      phase = .drain(until: now.advanced(by: max(0.2, 2 * shortestRoundTrip)))
      drainedRoundTrip = .infinity
    case .drain(let until):
      drainedRoundTrip = min(drainedRoundTrip, roundTrip)
      if now >= until {
        shortestRoundTrip = drainedRoundTrip
        shortestAt = now
        phase = .steady
      }
    default: break
    }
  }
}

/// The largest of the values added within a window of time: the larger of the two halves' maxima.
struct WindowedMaximum: Sendable {
  private var current = 0.0
  private var previous = 0.0
  private var began = Instant(nanoseconds: 0)

  /// The maximum; 0 without values.
  var value: Double { max(current, previous) }

  mutating func add(_ value: Double, at now: Instant, window: Double) {
    if now.seconds(since: began) > window / 2 {
      previous = current
      current = value
      began = now
    } else {
      current = max(current, value)
    }
  }
}

import P2PFSCore
import Testing

@testable import P2PFSTransport

/// A path in numbers: a rate, a delay each way, and a queue of unlimited length before the bottleneck.
private struct SimulatedPath {
  var rate: Double
  var roundTrip: Double

  /// Fills the estimate's window each round for `seconds`; the estimate learns what a sender would see.
  func run(_ estimate: inout BandwidthDelayEstimate, from start: Instant, seconds: Double, offered: Int = .max)
    -> Instant
  {
    var now = start
    while now < start.advanced(by: seconds) {
      let flight = min(estimate.window, offered)
      // What does not fit into the path stands in the queue, and lengthens the round.
      let round = max(roundTrip, Double(flight) / rate)
      now = now.advanced(by: round)
      estimate.addRound(roundTrip: round, delivered: flight, over: round, isLimited: flight == offered, at: now)
    }
    return now
  }
}

@Suite struct BandwidthDelayEstimateTests {
  private let start = Instant(nanoseconds: 1_000_000_000)
  private let path = SimulatedPath(rate: 23e6, roundTrip: 0.04)
  private var product: Double { path.rate * path.roundTrip }

  @Test func withoutAMeasurementTheFloorMayBeInFlight() {
    #expect(BandwidthDelayEstimate().window == Limits.Transport.leastFlight)
  }

  @Test func findsTheProductOfAFastLongPathWithinASecond() {
    var estimate = BandwidthDelayEstimate()
    _ = path.run(&estimate, from: start, seconds: 1)
    #expect(abs(estimate.rate - path.rate) < path.rate * 0.02)
    #expect(Double(estimate.window) >= product * 1.1)
    #expect(Double(estimate.window) <= product * 1.5)
  }

  @Test func neverExceedsTwiceTheProductOnTheWay() {
    var estimate = BandwidthDelayEstimate()
    var now = start
    for _ in 0..<500 {
      now = path.run(&estimate, from: now, seconds: 0.01)
      #expect(Double(estimate.window) < product * 2)
    }
  }

  @Test func followsAPathThatBecomesFaster() {
    var estimate = BandwidthDelayEstimate()
    let now = path.run(&estimate, from: start, seconds: 5)
    let faster = SimulatedPath(rate: 100e6, roundTrip: 0.04)
    _ = faster.run(&estimate, from: now, seconds: 3)
    #expect(estimate.rate > 95e6)
  }

  @Test func followsAPathThatBecomesSlower() {
    var estimate = BandwidthDelayEstimate()
    let now = path.run(&estimate, from: start, seconds: 5)
    let slower = SimulatedPath(rate: 5e6, roundTrip: 0.04)
    _ = slower.run(&estimate, from: now, seconds: 5)
    #expect(estimate.rate < 6e6)
  }

  @Test func drainsTheQueueToSeeALongerPathForWhatItIs() {
    var estimate = BandwidthDelayEstimate()
    let now = path.run(&estimate, from: start, seconds: 5)
    let longer = SimulatedPath(rate: 23e6, roundTrip: 0.08)
    _ = longer.run(&estimate, from: now, seconds: 25)
    #expect(abs(estimate.roundTrip - 0.08) < 0.012)
  }

  @Test func aPauseOfTheSenderIsNotTakenForASlowPath() {
    var estimate = BandwidthDelayEstimate()
    let now = path.run(&estimate, from: start, seconds: 2)
    _ = path.run(&estimate, from: now, seconds: 5, offered: 10_000)
    #expect(estimate.rate > 20e6)
  }

  @Test func staysWithinItsBounds() {
    var estimate = BandwidthDelayEstimate(least: 10, most: 1_000)
    estimate.addRound(roundTrip: 1, delivered: 1_000_000, over: 1, isLimited: false, at: start)
    #expect(estimate.window == 1_000)
    estimate.addRound(roundTrip: 0, delivered: -5, over: 0, isLimited: false, at: start)
    #expect(estimate.window == 1_000)
  }

  @Test func onePeerThatAsksForOneSmallThingAfterTheOtherIsNotHeldBack() {
    var (estimate, pacer) = (BandwidthDelayEstimate(), Pacer())
    var now = start
    for _ in 0..<1_000 {
      // The measured packet was the small one at the front: the rate says next to nothing.
      estimate.addRound(roundTrip: 0.04, delivered: 100, over: 0.04, isLimited: true, at: now)
      #expect(pacer.take(100, rate: estimate.pace, at: now) == 0)
      #expect(pacer.take(8_000, rate: estimate.pace, at: now) == 0)
      now = now.advanced(by: 0.041)
    }
  }

  @Test func thePacerLetsAClumpThroughAndSpreadsTheRest() {
    var pacer = Pacer()
    var now = start
    var sent = 0
    while pacer.take(32_768, rate: 20e6, at: now) == 0 { sent += 32_768 }
    #expect(sent >= 160_000 && sent <= 250_000)
    let begun = now
    for _ in 0..<100 {
      let wait = pacer.take(32_768, rate: 20e6, at: now)
      if wait == 0 { sent += 32_768 } else { now = now.advanced(by: wait) }
    }
    #expect(Double(sent) < 20e6 * now.seconds(since: begun) + 300_000)
  }
}

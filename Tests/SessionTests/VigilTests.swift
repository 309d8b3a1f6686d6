import P2PFSCore
import Rig
import Testing

@testable import P2PFSSession

/// When a silent connection is asked, doubted and given up.
@Suite(.onThreads) struct VigilTests {
  private var vigil = Vigil()
  private var now = Instant(nanoseconds: 1_000_000_000)

  /// Counts in steps of 0.2 s. Returns when each advice came, and when the connection was doubted first.
  private mutating func count(
    _ seconds: Double, hears: Bool = false, isBusy: Bool, roundTrip: Double = 0.04, isFailing: Bool = false
  ) -> (asked: [Double], doubted: Double?, givenUp: Double?) {
    var (asked, doubted, givenUp) = ([Double](), Double?.none, Double?.none)
    for step in 1...Int((seconds * 5).rounded()) {
      now = now.advanced(by: 0.2)
      let advice = vigil.count(
        0.2, heard: hears ? now : Instant(nanoseconds: 1), isBusy: isBusy, isFailing: isFailing, roundTrip: roundTrip,
        vanished: 8, now: now)
      let time = Double(step) / 5
      if advice == .ask { asked.append(time) }
      if vigil.isDoubted, doubted == nil { doubted = time }
      if advice == .giveUp, givenUp == nil { givenUp = time }
    }
    return (asked, doubted, givenUp)
  }

  @Test mutating func whoIsHeardIsNeverAsked() {
    let seen = count(100, hears: true, isBusy: true)
    #expect(seen.asked.isEmpty && seen.doubted == nil && seen.givenUp == nil)
  }

  @Test mutating func withSomethingUnderWayTheDoubtComesAfterASecondAndABit() throws {
    _ = count(1, hears: true, isBusy: true)
    let seen = count(8.4, isBusy: true)
    #expect(try #require(seen.asked.first) <= 0.6)
    let doubted = try #require(seen.doubted)
    #expect((1.0...1.4).contains(doubted))
    #expect(try #require(seen.givenUp) >= 7.9)
    // Not more than once a second, since all of it waits in the association.
    #expect(seen.asked.count <= 9)
  }

  @Test mutating func onALongPathTwoRoundTripsAreWaitedFor() throws {
    _ = count(1, hears: true, isBusy: true)
    let seen = count(7, isBusy: true, roundTrip: 1.5)
    #expect(try #require(seen.asked.first) >= 1.4)
    #expect(try #require(seen.doubted) >= 3.0)
  }

  @Test mutating func whereNothingIsUnderWayTheHeartbeatIsSlow() throws {
    _ = count(1, hears: true, isBusy: false)
    _ = count(Limits.Session.busy, hears: true, isBusy: false)
    #expect(!vigil.isAlert)
    let seen = count(1.8, isBusy: false)
    #expect(seen.asked.isEmpty)
    let doubted = count(2, isBusy: false).doubted
    #expect(try #require(doubted) <= 1.2)
  }

  @Test mutating func aDoubtedConnectionIsTrustedAgainWhenThePeerAnswersNotWhenItIsHeard() {
    _ = count(1, hears: true, isBusy: true)
    let silent = now
    _ = count(2, isBusy: true)
    #expect(vigil.isDoubted)
    _ = count(1, hears: true, isBusy: true)
    #expect(vigil.isDoubted && vigil.silence == 0)
    vigil.answered(askedAt: silent)
    #expect(vigil.isDoubted)
    // The question that was asked in the silence.
    vigil.answered(askedAt: silent.advanced(by: 0.6))
    #expect(!vigil.isDoubted && vigil.isAlert)
    let seen = count(10, hears: true, isBusy: true)
    #expect(seen.doubted == nil)
  }

  @Test mutating func afterAChangeOfTheNetworkOnlyAnAnswerToWhatWasAskedSinceCounts() {
    _ = count(1, hears: true, isBusy: true)
    let advice = vigil.networkChanged(at: now)
    #expect(advice == .ask)
    vigil.answerIsOverdue()
    #expect(vigil.isDoubted)
    // What was on its way still arrives.
    _ = count(1, hears: true, isBusy: true)
    #expect(vigil.isDoubted)
    vigil.answered(askedAt: now.advanced(by: -1.5))
    #expect(vigil.isDoubted)
    vigil.answered(askedAt: now)
    #expect(!vigil.isDoubted)
    vigil.answerIsOverdue()
    #expect(!vigil.isDoubted)
  }

  @Test mutating func anAnswerInTimeAfterAChangeCostsNothing() {
    _ = count(1, hears: true, isBusy: true)
    _ = vigil.networkChanged(at: now)
    vigil.answered(askedAt: now)
    vigil.answerIsOverdue()
    #expect(!vigil.isDoubted)
  }

  @Test mutating func whatCannotBeSentIsDoubtedAtOnce() {
    _ = count(1, hears: true, isBusy: true)
    let seen = count(0.2, isBusy: true, isFailing: true)
    #expect(seen.doubted == 0.2 && seen.asked == [0.2])
  }
}

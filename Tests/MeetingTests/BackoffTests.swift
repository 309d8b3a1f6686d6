import P2PFSCore
import Testing

@testable import P2PFSMeeting

/// The times between tries.
@Suite struct BackoffTests {
  @Test func triesInVainBecomeRare() {
    var growth = BackoffGrowth()
    let spacings = (0..<7).map { _ in growth.next(after: .other) }
    #expect(spacings == [0.25, 0.5, 1, 2, 4, 5, 5])
  }

  @Test func aServerThatCannotBeReachedIsTriedEverySecondForAMinuteAndStillOftenLater() {
    var growth = BackoffGrowth()
    let spacings = (0..<120).map { _ in growth.next(after: .unreachable) }
    #expect(spacings.prefix(90).allSatisfy { $0 < 1 } && spacings.allSatisfy { $0 <= 2 })
    #expect(spacings.prefix(90).reduce(0, +) > 60)
    #expect(spacings.suffix(10).allSatisfy { $0 == 2 })
  }

  /// An exporter that is killed again and again is found in each of its lives.
  @Test func whoWentAwayIsLookedForOftenForHalfAMinute() {
    var growth = BackoffGrowth()
    let spacings = (0..<40).map { _ in growth.next(after: .gone) }
    #expect(spacings.prefix(30).allSatisfy { $0 <= 1 } && spacings.prefix(30).reduce(0, +) > 28)
    #expect(spacings.suffix(10).allSatisfy { $0 == 2 })
    // Below what a server takes from one address, also for two guests behind it.
    #expect(60 / Limits.Session.laterReturn <= Double(Limits.Signaling.joinsPerMinute) / 2)
  }

  @Test func oneKindOfFailureDoesNotMakeAnotherRare() {
    var growth = BackoffGrowth()
    for _ in 0..<200 { _ = growth.next(after: .unreachable) }
    #expect(growth.next(after: .gone) == 0.25 && growth.next(after: .other) == 0.25)
    // It was reached: from here on it counts anew.
    #expect(growth.next(after: .unreachable) == 0.25)
  }

  @Test func aResetEndsTheWait() async {
    let backoff = Backoff()
    for _ in 0..<6 {
      backoff.begin()
      let wait = Task { await backoff.wait() }
      try? await Task.sleep(for: .milliseconds(20))
      backoff.reset()
      await wait.value
    }
    for _ in 0..<4 {
      let wait = Task { await backoff.wait() }
      wait.cancel()
      await wait.value
    }
    backoff.begin()
    let began = Instant.now
    let wait = Task { await backoff.wait() }
    try? await Task.sleep(for: .milliseconds(20))
    backoff.reset()
    await wait.value
    #expect(Instant.now.seconds(since: began) < 1.5)
  }

  @Test func theTimeOfTheTryCounts() async {
    let backoff = Backoff()
    backoff.begin()
    try? await Task.sleep(for: .milliseconds(400))
    let began = Instant.now
    await backoff.wait()
    #expect(Instant.now.seconds(since: began) < 0.2)
  }
}

import P2PFSCore
import Rig
import Synchronization
import Testing

@testable import P2PFSMeeting

/// The times between tries.
@Suite(.onThreads) struct BackoffTests {
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

  @Test(.timeLimit(.minutes(1))) func aResetEndsTheWaitAndSoDoesCancelling() async {
    let sleeping = Counter()
    // Nobody would live to see its end.
    let backoff = Backoff { _ in
      sleeping.add()
      try? await Task.sleep(for: .seconds(1e6))
    }
    for round in 1...6 {
      backoff.begin()
      let wait = Task { await backoff.wait() }
      #expect(await comesTrue { sleeping.value == round })
      if round.isMultiple(of: 2) { backoff.reset() } else { wait.cancel() }
      await wait.value
    }
    let wait = Task { await backoff.wait() }
    wait.cancel()
    await wait.value
  }

  @Test func theTimeOfTheTryCounts() async {
    let time = ManualClock()
    let slept = Mutex<[Double]>([])
    let backoff = Backoff(clock: time.clock) { seconds in slept.withLock { $0.append(seconds) } }
    await backoff.wait()
    backoff.begin()
    time.advance(by: 0.4)
    await backoff.wait()
    time.advance(by: 10)
    await backoff.wait()
    let asked = slept.withLock { $0 }
    // A quarter of a second, half of one, and one, each by a quarter more or less; and a moment in any case.
    #expect((0.1875...0.3125).contains(asked[0]))
    #expect((0.05...0.226).contains(asked[1]))
    #expect(asked[2] == 0.05 && asked.count == 3)
    backoff.reset()
    backoff.begin()
    await backoff.wait()
    #expect((0.1875...0.3125).contains(slept.withLock { $0.last ?? 0 }))
  }
}

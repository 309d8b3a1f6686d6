import Rig
import P2PFSCore
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import SystemPackage
import Testing
import P2PFSTransport

@testable import P2PFSMeeting

/// Who loses what, and when.
@Suite(.onThreads) struct AbsencesTests {
  private func guest(
    _ number: UInt8, away: Double?, isHolding: Bool = true, holdsFiles: Bool = true, holdsMemory: Bool = true
  ) -> Absences.Guest {
    Absences.Guest(
      identity: [number], away: away, isHolding: isHolding, holdsFiles: holdsFiles, holdsMemory: holdsMemory)
  }

  @Test func whoIsConnectedOrHasJustLeftLosesNothing() {
    let absences = Absences([guest(1, away: nil), guest(2, away: 59), guest(3, away: nil)])
    #expect(absences.place == nil && absences.files == nil && absences.memory == nil)
    #expect(absences.resting.isEmpty && absences.dropped.isEmpty)
  }

  @Test func theOneThatHasBeenAwayForLongestLosesFirst() {
    let absences = Absences([
      guest(1, away: 61), guest(2, away: 300), guest(3, away: nil), guest(4, away: 200),
      guest(5, away: 900, isHolding: false, holdsFiles: false, holdsMemory: false),
    ])
    #expect(absences.place == [5])
    #expect(absences.files == [2] && absences.memory == [2])
    #expect(absences.resting.isEmpty && absences.dropped.isEmpty)
  }

  @Test func thePlaceOfOneWithNothingOpenIsFreeAtOnce() {
    func guest(_ number: UInt8, _ away: Double?, hasNothingOpen: Bool) -> Absences.Guest {
      Absences.Guest(identity: [number], away: away, isHolding: true, hasNothingOpen: hasNothingOpen)
    }
    let guests = [
      guest(1, 40, hasNothingOpen: false), guest(2, 1, hasNothingOpen: true), guest(3, nil, hasNothingOpen: true),
    ]
    #expect(Absences(guests).place == [2])
    #expect(Absences(guests).files == nil && Absences(guests).memory == nil)
    #expect(Absences([guest(1, 61, hasNothingOpen: false)] + guests).place == [1])
    #expect(Absences([guests[0], guests[2]]).place == nil)
  }

  @Test func withoutAnybodyInNeedItIsAnHourAndThenADay() {
    let absences = Absences([
      guest(1, away: 3_599), guest(2, away: 3_601), guest(3, away: 3_700, isHolding: false),
      guest(4, away: 86_401),
    ])
    #expect(absences.resting == [[2]])
    #expect(absences.dropped == [[4]])
  }
}

@Suite(.onThreads, .timeLimit(.minutes(5))) struct AbsenceTests {
  /// Counts how often what a guest had open was closed.
  private final class Counter: Sendable {
    let ends = Atomic(0)
    let isShort = Atomic(false)
  }

  private final class Counting: Responder {
    let counter: Counter
    let isReadOnly = true
    let holdsSharedFiles = true
    init(_ counter: Counter) { self.counter = counter }
    func serve(_ request: Frame, _ exchange: Exchange) { exchange.fail(.noFunction) }
    func end() { counter.ends.add(1, ordering: .relaxed) }
  }

  @Test func whatAGuestHadOpenIsClosedWhenItWasAwayForAnHour() async throws {
    try await vanish { host, counter in
      let hour = Limits.Session.rest
      #expect(
        await comesTrue {
          await host.countAbsences(now: Instant.now.advanced(by: hour - 60))
          await host.countAbsences(now: Instant.now.advanced(by: hour + 1))
          return counter.ends.load(ordering: .relaxed) == 1
        })
      // Its place is kept, and nothing is left to close.
      await host.countAbsences(now: Instant.now.advanced(by: 2 * hour))
      #expect(counter.ends.load(ordering: .relaxed) == 1)
    }
  }

  @Test func whatAGuestHadOpenIsClosedSoonerIfOthersNeedIt() async throws {
    try await vanish { host, counter in
      let soon = Limits.Session.spared + 5
      await host.countAbsences(now: Instant.now.advanced(by: soon))
      #expect(counter.ends.load(ordering: .relaxed) == 0)
      counter.isShort.store(true, ordering: .relaxed)
      await host.countAbsences(now: Instant.now.advanced(by: Limits.Session.spared - 20))
      #expect(counter.ends.load(ordering: .relaxed) == 0)
      #expect(
        await comesTrue {
          await host.countAbsences(now: Instant.now.advanced(by: soon))
          return counter.ends.load(ordering: .relaxed) > 0
        })
      #expect(await host.restingGuests == 1)
    }
  }

  /// Has a guest come and vanish, and runs `body`.
  private func vanish(_ body: (HostedRoom, Counter) async throws -> Void) async throws {
    var signaling = SignalServer.Configuration()
    signaling.host = "127.0.0.1"
    signaling.port = .exactly(0)
    let server = try await SignalServer.start(signaling)
    let address = ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port)
    let counter = Counter()
    let isThere = Atomic(false)
    var configuration = HostedRoom.Configuration { _ in Counting(counter) }
    configuration.isShortOfFiles = { counter.isShort.load(ordering: .relaxed) }
    let code = Code.random()
    configuration.code = code
    configuration.ice.includesLoopback = true
    let host = HostedRoom(configuration, server: address) { event in
      if case .arrived = event { isThere.store(true, ordering: .relaxed) }
    }
    let running = Task { try? await host.run() }
    var meeting = GuestMeeting(server: address, credential: Credential(code), waits: true)
    meeting.ice.includesLoopback = true
    let guest = try await JoinedRoom.meet(meeting)
    #expect(await comesTrue { isThere.load(ordering: .relaxed) })
    // It vanishes without a word.
    guest.session.suspend()
    #expect(await comesTrue { await host.awayGuests == 1 })
    try await body(host, counter)
    running.cancel()
    await host.stop()
    _ = await running.value
    await server.shutdown()
  }
}

extension HostedRoom {
  fileprivate var awayGuests: Int { guests.values.filter { !$0.session.isOnline }.count }
  /// Those that keep their place only.
  fileprivate var restingGuests: Int { guests.values.filter { $0.isResting && $0.allowance == .least }.count }
}

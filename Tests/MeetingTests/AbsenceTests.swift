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

@Suite(.onThreads, .timeLimit(.minutes(5))) struct AbsenceTests {
  /// Counts how often what a guest had open was closed.
  private final class Counter: Sendable {
    let ends = Atomic(0)
  }

  private final class Counting: Responder {
    let counter: Counter
    let isReadOnly = true
    init(_ counter: Counter) { self.counter = counter }
    func serve(_ request: Frame, _ exchange: Exchange) { exchange.fail(.noFunction) }
    func end() { counter.ends.add(1, ordering: .relaxed) }
  }

  @Test func whatAGuestHadOpenIsClosedWhenItWasAwayForAnHour() async throws {
    var signaling = SignalServer.Configuration()
    signaling.host = "127.0.0.1"
    signaling.port = .exactly(0)
    let server = try await SignalServer.start(signaling)
    let address = ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port)
    let counter = Counter()
    let isThere = Atomic(false)
    var configuration = HostedRoom.Configuration { _ in Counting(counter) }
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
    let hour = Limits.Session.rest
    #expect(
      await comesTrue {
        await host.dropExpired(now: Instant.now.advanced(by: hour - 60))
        await host.dropExpired(now: Instant.now.advanced(by: hour + 1))
        return counter.ends.load(ordering: .relaxed) == 1
      })
    // Its place is kept, and nothing is left to close.
    await host.dropExpired(now: Instant.now.advanced(by: 2 * hour))
    #expect(counter.ends.load(ordering: .relaxed) == 1)
    running.cancel()
    await host.stop()
    _ = await running.value
    await server.shutdown()
  }
}

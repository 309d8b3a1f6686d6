import P2PFSCore
import Glibc
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import Testing
import P2PFSTransport

@testable import P2PFSMeeting

/// Two sides of one task that meet by a code through a real signaling server, over loopback.
@Suite(.timeLimit(.minutes(1))) struct RendezvousTests {
  private func startServer() async throws -> (SignalServer, ServerAddress) {
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(0)
    configuration.answersStun = false
    let server = try await SignalServer.start(configuration)
    return (server, ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port))
  }

  private func side(_ code: Code, _ role: Rendezvous.Role, _ server: ServerAddress) -> Rendezvous {
    var rendezvous = Rendezvous(code, as: role, at: server)
    rendezvous.ice.includesLoopback = true
    rendezvous.onChannel = { $0.accept() }
    return rendezvous
  }

  /// Keeps peers alive.
  private final class Guests: Sendable {
    private let peers = Mutex<[ConnectedPeer]>([])
    func keep(_ peer: ConnectedPeer) { peers.withLock { $0.append(peer) } }
  }

  /// Meets from both sides and sees that a channel can be opened from either.
  private func meet(_ one: Rendezvous, _ other: Rendezvous) async throws -> (ConnectedPeer, ConnectedPeer) {
    async let first = one.meet { _ in }
    async let second = other.meet { _ in }
    let peers = try await (first, second)
    for peer in [peers.0, peers.1] { try await peer.session.openChannel("test").opened() }
    return peers
  }

  @Test func withTheSameCodeOnBothSidesEitherMayComeFirst() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    // At the same moment, and again with the same code.
    for _ in 0..<3 {
      let (one, other) = try await meet(side(code, .either, address), side(code, .either, address))
      #expect(one.session.identity == other.session.identity)
      await one.end()
      await other.end()
    }
    await server.shutdown()
  }

  @Test func aGuestComesToAHost() async throws {
    let (server, address) = try await startServer()
    let host = side(.random(), .host, address)
    let guests = Guests()
    let met = try await host.meet { event in
      guard case .ready(let code, _) = event else { return }
      let guest = side(code, .guest, address)
      Task { guests.keep(try await guest.meet { _ in }) }
    }
    try await met.session.openChannel("test").opened()
    await met.end()
    await server.shutdown()
  }

  @Test func aGuestDoesNotWaitForNobody() async throws {
    let (server, address) = try await startServer()
    await #expect(throws: MeetingError.self) { _ = try await side(.random(), .guest, address).meet { _ in } }
    await server.shutdown()
  }

  @Test func aCodeThatBothWereGivenIsNotReplacedWhenOthersHaveGuessedTooOften() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    let (ready, feed) = AsyncStream.makeStream(of: Void.self)
    let waiting = Task { [rendezvous = side(code, .either, address)] in
      try await rendezvous.meet { event in if case .ready = event { feed.yield() } }
    }
    for await _ in ready { break }
    let wrong = try Code(parsing: code.room + "-lusab-" + (code.text.hasSuffix("-babad") ? "dadab" : "babad"))
    for _ in 0..<Limits.Pairing.attempts {
      await #expect(throws: MeetingError.self) { _ = try await side(wrong, .guest, address).meet { _ in } }
    }
    let outcome = await waiting.result
    guard case .failure(let error) = outcome, case .codeSpent? = error as? MeetingError else {
      Issue.record("\(outcome)")
      return
    }
    await server.shutdown()
  }

  @Test func aHostThatWasGivenNoCodeMakesOne() async throws {
    let (server, address) = try await startServer()
    let (codes, feed) = AsyncStream.makeStream(of: Code.self)
    var rendezvous = Rendezvous(nil, as: .host, at: address)
    rendezvous.ice.includesLoopback = true
    rendezvous.onChannel = { $0.accept() }
    let waiting = Task { [rendezvous] in
      try await rendezvous.meet { event in if case .ready(let code, _) = event { feed.yield(code) } }
    }
    var iterator = codes.makeAsyncIterator()
    let code = try #require(await iterator.next())
    let guest = try await side(code, .guest, address).meet { _ in }
    let host = try await waiting.value
    await guest.end()
    await host.end()
    await server.shutdown()
  }

  @Test func `a side that was killed takes its room again, and one that holds it meanwhile is met`() async throws {
    let (server, address) = try await startServer()
    let (code, token) = (Code.random(), RoomToken.random())
    let killed = try await SignalClient().host(address, room: code.room, token: token)
    killed.abandon()
    // The room is reserved for the token: nobody else gets it.
    var again = side(code, .either, address)
    again.token = token
    let (one, other) = try await meet(again, side(code, .either, address))
    await one.end()
    await other.end()
    // The other side came first, and holds the room.
    let (ready, feed) = AsyncStream.makeStream(of: Void.self)
    let waiting = Task { [rendezvous = side(code, .either, address)] in
      try await rendezvous.meet { event in if case .ready = event { feed.yield() } }
    }
    for await _ in ready { break }
    let met = try await again.meet { _ in }
    #expect(!met.isHost)
    await met.end()
    try await waiting.value.end()
    await server.shutdown()
  }

  @Test func whoIsCancelledLeavesTheRoom() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    let (ready, feed) = AsyncStream.makeStream(of: Void.self)
    let rendezvous = side(code, .either, address)
    let waiting = Task {
      try await rendezvous.meet { event in if case .ready = event { feed.yield() } }
    }
    for await _ in ready { break }
    waiting.cancel()
    await #expect(throws: MeetingError.self) { _ = try await waiting.value }
    await #expect(throws: SignalingError.nobodyThere) {
      _ = try await SignalClient().join(address, room: code.room)
    }
    await server.shutdown()
  }
}

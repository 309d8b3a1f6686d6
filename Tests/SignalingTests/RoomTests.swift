import P2PFSCore
import Glibc
import Rig
import Testing

@testable import P2PFSSignaling

/// Rooms as host and guest see them, over real sockets.
@Suite(.onThreads) struct RoomTests {
  private let client = SignalClient()
  private let room = "482153"

  @Test("A message of a guest reaches the host, and the answer that guest alone")
  func relaying() async throws {
    let (server, address) = try await startServer()
    let host = try await client.host(address, room: room, token: .random())
    let first = try await client.join(address, room: room)
    let second = try await client.join(address, room: room)
    #expect(first.isHostThere)
    let firstID = try await host.nextGuest()
    let secondID = try await host.nextGuest()
    #expect(firstID != secondID)
    first.send([1, 2, 3])
    #expect(try await host.events.next() == .message(firstID, [1, 2, 3]))
    let large = [UInt8](repeating: 7, count: Limits.Signaling.message - Limits.Signaling.framing)
    second.send(large)
    #expect(try await host.events.next() == .message(secondID, large))
    host.send([], to: secondID)
    host.send(large, to: secondID)
    host.send([5], to: firstID)
    #expect(try await second.events.next() == .message([]))
    #expect(try await second.events.next() == .message(large))
    #expect(try await first.events.next() == .message([5]))
    first.close()
    #expect(try await host.events.next() == .left(firstID))
    host.dismiss(secondID)
    #expect(try await second.events.next() == nil)
    #expect(second.closeReason == .closed("The host has ended the conversation."))
    await server.shutdown()
    #expect(try await host.events.next() == nil)
    #expect(host.closeReason == .closed("The server is shutting down."))
  }

  @Test("A room has one host")
  func occupied() async throws {
    let (server, address) = try await startServer()
    let host = try await client.host(address, room: room, token: .random())
    await #expect(throws: SignalingError.roomOccupied) {
      _ = try await client.host(address, room: room, token: .random())
    }
    host.close()
    #expect(try await host.events.next() == nil)
    #expect(host.closeReason == nil)
    await server.shutdown()
  }

  @Test("The token's owner takes its room back, and the old connection ends")
  func reclaim() async throws {
    let (server, address) = try await startServer()
    let token = RoomToken.random()
    let old = try await client.host(address, room: room, token: token)
    let guest = try await client.join(address, room: room)
    let id = try await old.nextGuest()
    let new = try await client.host(address, room: room, token: token)
    #expect(try await old.events.next() == nil)
    #expect(old.closeReason == .closed("The host has come back by another connection."))
    #expect(try await new.events.next() == .joined(id))
    #expect(try await guest.events.next() == .hostArrived)
    guest.send([9])
    #expect(try await new.events.next() == .message(id, [9]))
    await server.shutdown()
  }

  @Test("A host that breaks off keeps its room for a while, against others, and one that closes does not")
  func reservation() async throws {
    let (server, address) = try await startServer()
    let token = RoomToken.random()
    let broken = try await client.host(address, room: room, token: token)
    let waiting = try await client.join(address, room: room, wait: true)
    broken.abandon()
    #expect(try await waiting.events.next() == .hostLeft)
    await #expect(throws: SignalingError.roomOccupied) {
      _ = try await client.host(address, room: room, token: .random())
    }
    await #expect(throws: SignalingError.nobodyThere) { _ = try await client.join(address, room: room) }
    let back = try await client.host(address, room: room, token: token)
    #expect(try await waiting.events.next() == .hostArrived)
    back.close()
    #expect(try await waiting.events.next() == .hostLeft)
    let other = try await client.host(address, room: room, token: .random())
    #expect(try await waiting.events.next() == .hostArrived)
    other.close()
    await server.shutdown()
  }

  @Test("The room of a transient host is free for anybody as soon as its connection breaks")
  func transient() async throws {
    let (server, address) = try await startServer()
    let broken = try await client.host(address, room: room, token: .random(), isTransient: true)
    let guest = try await client.join(address, room: room)
    await #expect(throws: SignalingError.roomOccupied) {
      _ = try await client.host(address, room: room, token: .random())
    }
    broken.abandon()
    #expect(try await guest.events.next() == .hostLeft)
    let other = try await client.host(address, room: room, token: .random())
    #expect(try await guest.events.next() == .hostArrived)
    other.close()
    await server.shutdown()
  }

  @Test("A guest learns at once that nobody is there, for any room in the same words")
  func nobodyThere() async throws {
    let (server, address) = try await startServer()
    let host = try await client.host(address, room: "111111", token: .random())
    host.close()
    #expect(try await host.events.next() == nil)
    let waiting = try await client.join(address, room: "222222", wait: true)
    #expect(!waiting.isHostThere)
    var answers: Set<String> = []
    // Once hosted, waited in, and never heard of.
    for room in ["111111", "222222", "333333", String(repeating: "a", count: 32)] {
      let socket = RawSocket(port: server.port)
      answers.insert(socket.upgrade(room: room, ["P2PFS-Role: guest"]))
    }
    #expect(answers.count == 1)
    #expect(answers.first?.hasPrefix("HTTP/1.1 404 Not Found\r\n") == true)
    await #expect(throws: SignalingError.nobodyThere) { _ = try await client.join(address, room: "333333") }
    await server.shutdown()
  }

  @Test("A guest that waits is told when the host comes")
  func waiting() async throws {
    let (server, address) = try await startServer()
    let guest = try await client.join(address, room: room, wait: true)
    #expect(!guest.isHostThere)
    let host = try await client.host(address, room: room, token: .random())
    #expect(try await guest.events.next() == .hostArrived)
    let id = try await host.nextGuest()
    host.send([4], to: id)
    #expect(try await guest.events.next() == .message([4]))
    await server.shutdown()
  }

  @Test("The welcome lists STUN servers; relays are told of when two meet, with fresh credentials of the room")
  func iceServers() async throws {
    let (server, address) = try await startServer {
      $0.stunServers = [try! IceServer(uri: "stun:stun.example.org")]
      $0.turnServers = try! IceServer.all(uri: "turn:turn.example.org:3479")
      $0.turnSecret = "north"
    }
    let stun = ["stun:127.0.0.1:\(server.port)", "stun:stun.example.org"]
    let turn = ["turn:turn.example.org:3479?transport=udp", "turn:turn.example.org:3479?transport=tcp"]
    let waiting = try await client.join(address, room: room, wait: true)
    #expect(waiting.iceServers.map(\.uri) == stun)
    let host = try await client.host(address, room: room, token: .random())
    #expect(try await waiting.events.next() == .hostArrived)
    #expect(waiting.iceServers.map(\.uri) == stun + turn)
    #expect(host.iceServers.map(\.uri) == stun + turn)
    waiting.close()
    // Whoever is alone in a room has nobody to relay to.
    let alone = try await client.host(address, room: "111111", token: .random())
    #expect(alone.iceServers.map(\.uri) == stun)
    let guest = try await client.join(address, room: "111111")
    #expect(guest.iceServers.map(\.uri) == stun + turn)
    _ = try await alone.nextGuest()
    #expect(alone.iceServers.map(\.uri) == stun + turn)
    let relay = try #require(alone.iceServers.last)
    #expect(relay.port == 3479 && relay.transport == .tcp && relay.kind == .turn)
    let parts = try #require(relay.username?.split(separator: ":"))
    let expiry = try #require(Int(parts[0]))
    #expect(parts[1] == "111111" && abs(expiry - Glibc.time(nil) - Limits.Signaling.turnLifetime) <= 5)
    #expect(relay.credential == TurnCredentials(secret: "north", expiry: expiry, name: "111111").password)
    await server.shutdown()
    let (silent, other) = try await startServer { $0.answersStun = false }
    let without = try await client.host(other, room: room, token: .random())
    #expect(without.iceServers.isEmpty)
    await silent.shutdown()
  }

  @Test("A TURN server without a transport is one by UDP and one by TCP; a transport, and STUN, stay as they are")
  func transports() throws {
    #expect(try IceServer.all(uri: "turn:a").map(\.transport) == [.udp, .tcp])
    #expect(try IceServer.all(uri: "turn:a?transport=tcp").map(\.uri) == ["turn:a?transport=tcp"])
    #expect(try IceServer.all(uri: "stun:a").map(\.uri) == ["stun:a"])
    #expect(throws: IceServerError.self) { try IceServer.all(uri: "turn:") }
  }

  @Test("The embedded server takes the next free port, and both address families")
  func embedded() async throws {
    let first = try await SignalServer.start(.embedded)
    let second = try await SignalServer.start(.embedded)
    #expect(first.port != second.port)
    let host = try await client.host(ServerAddress(parsing: "127.0.0.1:\(second.port)"), room: room, token: .random())
    #expect(host.iceServers.map(\.uri) == ["stun:127.0.0.1:\(second.port)"])
    await second.shutdown()
    await first.shutdown()
  }

  @Test("A port that is taken is an error that says so")
  func portTaken() async throws {
    let (server, _) = try await startServer()
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(server.port)
    let taken = configuration
    await #expect(throws: SignalServerError.cannotListen("Address already in use")) {
      _ = try await SignalServer.start(taken)
    }
    await server.shutdown()
  }

  @Test("A server that is not there, or is something else, is told apart")
  func unreachable() async throws {
    let (server, address) = try await startServer()
    await server.shutdown()
    await #expect(throws: SignalingError.unreachable("Connection refused")) {
      _ = try await client.join(address, room: room)
    }
    await #expect(throws: SignalingError.self) {
      _ = try await client.join(ServerAddress(parsing: "nowhere.invalid"), room: room)
    }
  }
}

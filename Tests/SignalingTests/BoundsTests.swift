import P2PFSCore
import NIOCore
import Rig
import Testing

@testable import P2PFSSignaling

/// What strangers may not do, over real sockets.
@Suite(.onThreads) struct BoundsTests {
  private let client = SignalClient()
  private let token = "P2PFS-Token: " + String(repeating: "ab", count: 32)

  /// A host's raw socket in a fresh room.
  private func rawHost(_ server: SignalServer, _ room: String = "482153") -> RawSocket {
    let socket = RawSocket(port: server.port)
    let answer = socket.upgrade(room: room, ["P2PFS-Role: host", token])
    #expect(answer.hasPrefix("HTTP/1.1 101 "))
    return socket
  }

  @Test("More rooms, guests, joins and connections than there may be are refused in words")
  func counts() async throws {
    let (server, address) = try await startServer {
      $0.bounds.rooms = 1
      $0.bounds.guests = 1
      $0.bounds.joinsPerMinute = 6
    }
    let host = try await client.host(address, room: "111111", token: .random())
    await #expect(throws: SignalingError.refused("The server has no room left.")) {
      _ = try await client.host(address, room: "222222", token: .random())
    }
    await #expect(throws: SignalingError.refused("The server has no room left.")) {
      _ = try await client.join(address, room: "222222", wait: true)
    }
    let guest = try await client.join(address, room: "111111")
    await #expect(throws: SignalingError.refused("The room is full.")) {
      _ = try await client.join(address, room: "111111")
    }
    await #expect(throws: SignalingError.nobodyThere) { _ = try await client.join(address, room: "333333") }
    let refused = RawSocket(port: server.port).upgrade(room: "333333", ["P2PFS-Role: guest"])
    #expect(refused.hasPrefix("HTTP/1.1 429 "))
    #expect(refused.hasSuffix("Too many joins from this address; try again in a minute.\n"))
    guest.close()
    host.close()
    await server.shutdown()
  }

  @Test("Connections are bounded, all together and by address", arguments: [true, false])
  func connections(_ byAddress: Bool) async throws {
    let (server, address) = try await startServer {
      if byAddress { $0.bounds.connectionsPerAddress = 1 } else { $0.bounds.connections = 1 }
    }
    let host = try await client.host(address, room: "111111", token: .random())
    await #expect(throws: SignalingError.refused("Too many connections.")) {
      _ = try await client.join(address, room: "111111")
    }
    host.close()
    #expect(try await host.events.next() == nil)
    await server.shutdown()
  }

  @Test(
    "Behind a proxy that is trusted, clients are told apart by X-Forwarded-For, and only then",
    arguments: [true, false])
  func forwarded(_ isTrusted: Bool) async throws {
    let (server, _) = try await startServer {
      $0.bounds.joinsPerMinute = 1
      $0.trustsForwardedFor = isTrusted
    }
    let answers = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map { address in
      RawSocket(port: server.port).upgrade(
        room: "111111", ["P2PFS-Role: guest", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: \(address)"]
      ).split(separator: " ")[1]
    }
    #expect(answers == (isTrusted ? ["404", "404", "404", "429"] : ["404", "429", "429", "429"]))
    await server.shutdown()
  }

  @Test(
    "A connection that does not finish its request is closed in time",
    arguments: ["", "GET /v1/rooms/482153 HTTP/1.1\r\nHost: a\r\n"])
  func slowloris(_ beginning: String) async throws {
    let (server, address) = try await startServer { $0.bounds.handshake = 1 }
    let socket = RawSocket(port: server.port)
    socket.write(Array(beginning.utf8))
    #expect(socket.readToEnd() != nil)
    // Others are served meanwhile and after.
    let host = try await client.host(address, room: "111111", token: .random())
    host.close()
    await server.shutdown()
  }

  @Test("A head without end is refused")
  func endlessHead() async throws {
    let (server, _) = try await startServer()
    let socket = RawSocket(port: server.port)
    socket.write(Array("GET / HTTP/1.1\r\n".utf8))
    for index in 0..<2000 where !socket.write(Array("X-\(index): 0123456789\r\n".utf8)) { break }
    let answer = socket.readToEnd()
    #expect(answer != nil)
    #expect(answer.map { $0.isEmpty || String(decoding: $0, as: UTF8.self).hasPrefix("HTTP/1.1 4") } == true)
    await server.shutdown()
  }

  @Test(
    "Requests that are none of ours are answered",
    arguments: [
      ("GET /healthz HTTP/1.1", "200"), ("GET / HTTP/1.1", "426"), ("GET /v1/rooms/482153 HTTP/1.1", "426"),
      ("GET /nothing HTTP/1.1", "404"), ("POST /v1/rooms/482153 HTTP/1.1", "426"), ("nonsense", "400"),
    ])
  func plainHTTP(_ line: String, _ status: String) async throws {
    let (server, _) = try await startServer()
    let socket = RawSocket(port: server.port)
    socket.write(Array("\(line)\r\nHost: a\r\n\r\n".utf8))
    let answer = String(decoding: socket.readToEnd() ?? [], as: UTF8.self)
    #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
    await server.shutdown()
  }

  @Test(
    "Joins that are none are refused",
    arguments: [
      ("48215", ["P2PFS-Role: guest"]), ("48215a", ["P2PFS-Role: guest"]), ("482153/", ["P2PFS-Role: guest"]),
      (String(repeating: "A", count: 32), ["P2PFS-Role: guest"]), ("482153", []), ("482153", ["P2PFS-Role: king"]),
      ("482153", ["P2PFS-Role: host"]), ("482153", ["P2PFS-Role: host", "P2PFS-Token: abc"]),
      ("482153?x", ["P2PFS-Role: guest"]), ("../rooms/482153", ["P2PFS-Role: guest"]),
    ] as [(String, [String])])
  func badJoins(_ room: String, _ fields: [String]) async throws {
    let (server, _) = try await startServer()
    #expect(RawSocket(port: server.port).upgrade(room: room, fields).hasPrefix("HTTP/1.1 400 "))
    await server.shutdown()
  }

  @Test(
    "Frames that break the rules close the connection with the right code",
    arguments: [
      (RawSocket.frame(2, [2, 0, 0, 0, 1], masked: false), 1002),
      (RawSocket.frame(2 | 0x40, [2]), 1002),
      ([0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 1009),
      ([0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], 1009),
      (RawSocket.frame(2, [2, 0, 0], final: false), 1003),
      (RawSocket.frame(0, [2, 0, 0]), 1003),
      (RawSocket.frame(1, [65]), 1003),
      (RawSocket.frame(3, []), 1003),
      (RawSocket.frame(2, []), 1008),
      (RawSocket.frame(2, [9]), 1008),
      (RawSocket.frame(2, [2, 0]), 1008),
      (RawSocket.frame(2, [5]), 1008),
      (RawSocket.frame(2, [1, 1, 0]), 1008),
      (RawSocket.frame(2, [4, 0, 0, 0, 1, 0]), 1008),
      (RawSocket.frame(9, [], final: false), 1002),
      (RawSocket.frame(9, [UInt8](repeating: 0, count: 126)), 1002),
    ] as [([UInt8], Int)])
  func badFrames(_ frame: [UInt8], _ code: Int) async throws {
    let (server, address) = try await startServer()
    let socket = rawHost(server)
    socket.write(frame)
    #expect(socket.readClosing()?.code == code)
    let other = try await client.host(address, room: "111111", token: .random())
    other.close()
    await server.shutdown()
  }

  @Test(
    "A flood is cut off with a reason",
    arguments: [
      [RawSocket.frame(9, [])], [RawSocket.frame(10, [1])], [RawSocket.frame(2, [2, 0, 0, 0, 1])],
      [RawSocket.frame(2, [2, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 60_000))],
    ])
  func floods(_ frames: [[UInt8]]) async throws {
    let (server, _) = try await startServer()
    let socket = rawHost(server)
    for _ in 0..<1200 where !socket.write(frames[0]) { break }
    let closing = socket.readClosing()
    #expect(closing?.code == 1008)
    #expect(closing?.reason == "Too many messages.")
    await server.shutdown()
  }

  @Test("A receiver that does not read is dropped, and its room goes on")
  func slowReceiver() async throws {
    let (server, address) = try await startServer {
      $0.bounds.backlog = 100_000
      $0.bounds.byteBurst = 1e9
      $0.bounds.messageBurst = 1e6
    }
    let host = try await client.host(address, room: "482153", token: .random())
    let slow = RawSocket(port: server.port, receiveBuffer: 4096)
    _ = slow.upgrade(room: "482153", ["P2PFS-Role: guest"])
    let id = try await host.nextGuest()
    let payload = [UInt8](repeating: 0, count: 60_000)
    for _ in 0..<40 { host.send(payload, to: id) }
    #expect(try await host.events.next() == .left(id))
    let other = try await client.join(address, room: "482153")
    let otherID = try await host.nextGuest()
    host.send([1], to: otherID)
    #expect(try await other.events.next() == .message([1]))
    await server.shutdown()
  }

  @Test("A guest that floods a host which does not keep up is dropped, and neither the host nor another guest")
  func floodingGuest() async throws {
    let (server, address) = try await startServer {
      $0.bounds.byteBurst = 1e9
      $0.bounds.messageBurst = 1e6
    }
    let host = RawSocket(port: server.port, receiveBuffer: 4096)
    _ = host.upgrade(room: "482153", ["P2PFS-Role: host", token])
    let honest = try await client.join(address, room: "482153")
    var flooders: [RawSocket] = []
    let payload = RawSocket.frame(2, [2] + [UInt8](repeating: 0, count: 60_000))
    for _ in 0..<8 {
      let flooder = RawSocket(port: server.port)
      _ = flooder.upgrade(room: "482153", ["P2PFS-Role: guest"])
      for _ in 0..<100 where !flooder.write(payload) { break }
      let closing = flooder.readClosing()
      #expect(closing?.code == 1008 && closing?.reason == "The host does not take so much.")
      flooders.append(flooder)
    }
    honest.send([1, 2, 3, 4, 5])
    var tail: [UInt8] = []
    while tail != [1, 2, 3, 4, 5], let part = host.read(), !part.isEmpty { tail = Array((tail + part).suffix(5)) }
    #expect(tail == [1, 2, 3, 4, 5])
    #expect(honest.closeReason == nil)
    await server.shutdown()
  }

  @Test("A guest that says nothing to its host is turned away; one that waits for a host is not")
  func silence() async throws {
    let (server, address) = try await startServer { $0.bounds.silence = 1 }
    let waiting = try await client.join(address, room: "111111", wait: true)
    let host = try await client.host(address, room: "482153", token: .random())
    let guest = try await client.join(address, room: "482153")
    let silent = RawSocket(port: server.port)
    _ = silent.upgrade(room: "482153", ["P2PFS-Role: guest"])
    guest.send([1])
    let closing = silent.readClosing()
    #expect(closing?.code == 1008 && closing?.reason == "Nothing was said.")
    #expect(guest.closeReason == nil && waiting.closeReason == nil)
    withExtendedLifetime(host) {}
    await server.shutdown()
  }

  @Test("No address fills a room: who has fewer places displaces the silent, then the first, of who has more")
  func places() throws {
    var bounds = SignalBounds()
    bounds.guests = 4
    var table = RoomTable(bounds: bounds)
    let room = try #require(Room("482153"))
    let now = Instant(nanoseconds: 1_000_000_000)
    let (stranger, friend, third) = (AddressKey([10, 0, 0, 1]), AddressKey([10, 0, 0, 2]), AddressKey([10, 0, 0, 3]))
    func id(_ number: UInt64) -> ConnectionID { ConnectionID(rawValue: number) }
    func join(_ number: UInt64, _ address: AddressKey) -> [ConnectionID]? {
      let join = Join(room: room, role: .guest(waits: false))
      guard table.refusal(of: join, from: address, now: now) == nil else { return nil }
      return table.admit(id(number), join, from: address, now: now).compactMap {
        if case .close(let closed, _, _) = $0 { closed } else { nil }
      }
    }
    _ = table.admit(id(1), Join(room: room, role: .host(.random())), from: friend, now: now)
    for number in 2...5 as ClosedRange<UInt64> { #expect(join(number, stranger) == []) }
    // The first of them has spoken.
    _ = table.received(.plain(ByteBuffer()), from: id(2))
    #expect(join(6, stranger) == nil)
    #expect(join(7, friend) == [id(3)])
    #expect(join(8, third) == [id(4)])
    // What is left of the stranger's: one that has spoken, and a silent one.
    #expect(join(9, friend) == [id(5)])
    // Nobody has more places now than this one, but for a newcomer.
    #expect(join(10, friend) == nil)
    #expect(join(11, AddressKey([10, 0, 0, 4])) == [id(7)])
    // Who has spoken keeps its only place.
    for number in [8, 9, 11] as [UInt64] { _ = table.received(.plain(ByteBuffer()), from: id(number)) }
    #expect(join(12, AddressKey([10, 0, 0, 5])) == nil)
    #expect(table.expire(now: now.advanced(by: bounds.silence + 1)) == [])
  }

  @Test("A connection that falls silent is closed")
  func idle() async throws {
    let (server, _) = try await startServer { $0.bounds.idle = 1 }
    let socket = rawHost(server)
    let closing = socket.readClosing()
    #expect(closing?.code == 1001)
    await server.shutdown()
  }

  @Test("A ping is answered with its bytes, a close with its code")
  func control() async throws {
    let (server, _) = try await startServer()
    let socket = rawHost(server)
    socket.write(RawSocket.frame(9, [1, 2, 3]))
    // The welcome may be read before it.
    var read: [UInt8] = []
    while !read.suffix(5).elementsEqual([0x8A, 3, 1, 2, 3]), let part = socket.read(), !part.isEmpty { read += part }
    #expect(read.suffix(5) == [0x8A, 3, 1, 2, 3])
    socket.write(RawSocket.frame(8, [0x03, 0xE8]))
    #expect(socket.readClosing()?.code == 1000)
    await server.shutdown()
  }

  @Test("A closed room is free for anybody, and ten thousand addresses are counted by their /64")
  func addresses() {
    var bounds = SignalBounds()
    bounds.joinsPerMinute = 2
    bounds.connectionsPerAddress = 2
    var table = AddressTable(bounds: bounds)
    let now = Instant(nanoseconds: 1_000_000_000)
    let network: [UInt8] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1]
    for (index, allowed) in [true, true, false].enumerated() {
      let key = AddressKey(network + [UInt8](repeating: UInt8(index), count: 8))
      #expect(table.join(key, now: now) == allowed)
      #expect(table.connect(key, now: now) == allowed)
    }
    #expect(AddressKey([1, 2, 3, 4]) == AddressKey([UInt8](repeating: 0, count: 10) + [0xFF, 0xFF, 1, 2, 3, 4]))
    #expect(AddressKey([1, 2, 3, 4]) != AddressKey([1, 2, 3, 5]))
    for index in 0..<10_000 { _ = table.join(AddressKey([10, 0, UInt8(index >> 8), UInt8(index & 255)]), now: now) }
    #expect(table.count == 10_001)
    table.prune(now: now.advanced(by: 61))
    #expect(table.count == 1)
    let key = AddressKey(network + [UInt8](repeating: 0, count: 8))
    table.disconnect(key, now: now.advanced(by: 61))
    table.disconnect(key, now: now.advanced(by: 61))
    #expect(table.count == 0)
  }
}

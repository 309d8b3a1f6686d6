import P2PFSCore
import Glibc
import Rig
import Testing

@testable import P2PFSSignaling

/// A client believes nothing that a server says.
@Suite(.onThreads) struct HostileServerTests {
  private let client = SignalClient()

  /// A listener that answers each connection with an upgrade, computed for the key that came, and then `frames`.
  private final class Impostor: Sendable {
    let port: UInt16
    private let listener: Int32

    init(_ frames: [UInt8], head: String? = nil) {
      listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      let descriptor = listener
      _ = Loopback.with(port: 0) { bind(descriptor, $0, $1) }
      listen(listener, 4)
      port = Loopback.port(of: listener)
      let listener = listener
      // A thread of its own: it blocks.
      Thread.start {
        let descriptor = accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = max(0, recv(descriptor, &buffer, buffer.count, 0))
        let request = String(decoding: buffer[..<count], as: UTF8.self)
        let key =
          request.split(separator: "\r\n").first { $0.lowercased().hasPrefix("sec-websocket-key: ") }?
          .dropFirst(19) ?? ""
        let answer =
          head
          ?? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          + "Sec-WebSocket-Accept: \(webSocketAccept(String(key)))\r\n\r\n"
        let bytes = Array(answer.utf8) + frames
        _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        // Until the client hangs up.
        while recv(descriptor, &buffer, buffer.count, 0) > 0 {}
        close(descriptor)
      }
    }

    deinit {
      shutdown(listener, Int32(SHUT_RDWR))
      close(listener)
    }

    var address: ServerAddress { ServerAddress(scheme: .ws, host: "127.0.0.1", port: port) }
  }

  private static let welcome: [UInt8] = [0x82, 3, 1, 1, 0]

  @Test(
    "Nonsense instead of a welcome ends the attempt",
    arguments: [
      [0x82, 0], [0x82, 1, 9], [0x82, 3, 1, 2, 0], [0x82, 3, 1, 1, 1], [0x82, 3, 1, 1, 255], [0x82, 4, 1, 1, 0, 0],
      [0x82, 6, 1, 1, 1, 0xFF, 0xFF, 65], [0x82, 1, 5], [0x82, 0x83, 0, 0, 0, 0, 1, 1, 0], [0xC2, 3, 1, 1, 0],
      [0x02, 3, 1, 1, 0], [0x81, 3, 1, 1, 0], [0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0],
      [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
      [0x82, 10, 1, 1, 1, 0, 1, 7, 0, 0, 0, 0],
    ] as [[UInt8]])
  func nonsense(_ frames: [UInt8]) async throws {
    let impostor = Impostor(frames)
    do {
      _ = try await client.join(impostor.address, room: "482153")
      Issue.record("the welcome was none")
    } catch {
      guard case .violation = error else { throw error }
    }
  }

  @Test("A server that pings on and on and reads nothing gets few answers")
  func pings() async throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    _ = Loopback.with(port: 0) { bind(listener, $0, $1) }
    var size: Int32 = 4_096
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    listen(listener, 1)
    let address = ServerAddress(scheme: .ws, host: "127.0.0.1", port: Loopback.port(of: listener))
    let counting = Task.detached {
      let descriptor = accept(listener, nil, nil)
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let count = max(0, recv(descriptor, &buffer, buffer.count, 0))
      let request = String(decoding: buffer[..<count], as: UTF8.self)
      let key = request.split(separator: "\r\n").first { $0.lowercased().hasPrefix("sec-websocket-key: ") } ?? ""
      let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Accept: \(webSocketAccept(String(key.dropFirst(19))))\r\n\r\n"
      var bytes = Array(answer.utf8) + Self.welcome
      let ping = [0x89, 125] + [UInt8](repeating: 120, count: 125)
      for _ in 0..<512 { bytes += ping }
      for round in 0..<400 {
        let rest = round == 0 ? bytes[...] : bytes.suffix(512 * ping.count)
        _ = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      }
      // What it had to say all the same, until it is silent for a second.
      var timeout = timeval(tv_sec: 1, tv_usec: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
      var heard = 0
      while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 { heard += count }
      close(descriptor)
      return heard
    }
    let host = try await client.host(address, room: "482153", token: .random())
    // 26 MB of pings; the answers are what two sockets hold, and a little more.
    #expect(await counting.value < 8_000_000)
    withExtendedLifetime(host) {}
    close(listener)
  }

  @Test(
    "After the welcome nonsense ends the connection",
    arguments: [
      [0x82, 1, 3], [0x82, 3, 1, 1, 0], [0x82, 2, 5, 0], [0x83, 0], [0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0],
    ] as [[UInt8]])
  func laterNonsense(_ frames: [UInt8]) async throws {
    let impostor = Impostor(Self.welcome + frames)
    let guest = try await client.join(impostor.address, room: "482153")
    #expect(try await guest.events.next() == nil)
    guard case .violation? = guest.closeReason else { throw Overdue() }
  }

  @Test("A server that floods is cut off")
  func flood() async throws {
    let impostor = Impostor(Self.welcome + [[UInt8]](repeating: [0x82, 1, 2], count: 5000).joined())
    let guest = try await client.join(impostor.address, room: "482153")
    let reason = try await within { () -> SignalingError in
      while guest.closeReason == nil { try await Task.sleep(for: .milliseconds(10)) }
      return guest.closeReason ?? .timedOut
    }
    #expect(reason == .violation("more messages than are read"))
  }

  @Test(
    "What answers without being a signaling server is named",
    arguments: [
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
      "SSH-2.0-x\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
    ])
  func otherServers(_ head: String) async throws {
    let impostor = Impostor([], head: head)
    do {
      _ = try await client.join(impostor.address, room: "482153")
      Issue.record("that was no signaling server")
    } catch {
      guard case .notASignalingServer = error else { throw error }
    }
  }

  @Test("A server that takes the connection and says nothing is given up")
  func silence() async throws {
    let impostor = Impostor([], head: "")
    await #expect(throws: SignalingError.timedOut) {
      _ = try await within { try await client.join(impostor.address, room: "482153") }
    }
  }

  @Test("A server that answers no ping any more is noticed, and one that does is not")
  func deadServer() async throws {
    var patience = SignalTimeouts()
    patience.ping = 0.05
    patience.pong = 3
    let impatient = SignalClient(patience: patience)
    let (server, address) = try await startServer()
    let alive = try await impatient.host(address, room: "482153", token: .random())
    let impostor = Impostor(Self.welcome)
    let guest = try await impatient.join(impostor.address, room: "482153")
    #expect(try await guest.events.next() == nil)
    #expect(guest.closeReason == .closed("it does not answer any more"))
    #expect(alive.closeReason == nil)
    await server.shutdown()
  }

  @Test("A server that a host asks for, and that is gone, is noticed at once, long before the next ping")
  func probedServer() async throws {
    var patience = SignalTimeouts()
    patience.probe = 0.3
    let client = SignalClient(patience: patience)
    let (server, address) = try await startServer()
    let alive = try await client.host(address, room: "482153", token: .random())
    let impostor = Impostor(Self.welcome)
    let host = try await client.host(impostor.address, room: "482153", token: .random())
    for connection in [alive, host] { connection.probe() }
    let began = Instant.now
    #expect(try await host.events.next() == nil)
    #expect(host.closeReason == .closed("it does not answer any more"))
    #expect(Instant.now.seconds(since: began) < 3)
    #expect(alive.closeReason == nil)
    alive.close()
    await server.shutdown()
  }

  @Test("What a server says reaches no terminal as it is")
  func escaping() async throws {
    let text = Array("\u{1B}[31mred\u{7}".utf8)
    let impostor = Impostor(Self.welcome + [0x88, UInt8(text.count + 2), 0x03, 0xE9] + text)
    let guest = try await client.join(impostor.address, room: "482153")
    #expect(try await guest.events.next() == nil)
    #expect(guest.closeReason == .closed("?[31mred?"))
  }
}

/// A thread that runs one closure.
private enum Thread {
  final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  static func start(_ run: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { body in
        guard let body else { return nil }
        Unmanaged<Body>.fromOpaque(body).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(Body(run)).toOpaque())
    pthread_detach(thread)
  }
}

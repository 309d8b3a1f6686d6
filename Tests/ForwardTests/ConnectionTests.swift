import Rig
import P2PFSCore
import Glibc
import NIOCore
import P2PFSSession
import Synchronization
import Testing

@testable import P2PFSForward

/// Forwarded connections, with real sockets at both ends and links in memory between.
@Suite(.onThreads) struct ConnectionTests {
  @Test func `a question and its answer, then both say goodbye`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      client.write(Array("ping".utf8))
      let other = try #require(server.accept())
      #expect(other.text(4) == "ping")
      other.write(Array("pong".utf8))
      #expect(client.text(4) == "pong")
      client.finish()
      #expect(other.read().end == .end)
      other.close()
      #expect(client.read().end == .end)
    }
  }

  @Test func `the end of either direction leaves the other open`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      for clientEndsFirst in [true, false] {
        let client = try #require(TestSocket.connect(port: port))
        let other = try #require(server.accept())
        let (first, second) = clientEndsFirst ? (client, other) : (other, client)
        first.write(Array("that is all".utf8))
        first.finish()
        #expect(second.read() == (Array("that is all".utf8), .end))
        usleep(100_000)
        let answer = pattern(3_000_000)
        let reader = Running { first.digest() }
        #expect(second.write(answer))
        second.finish()
        let got = try #require(reader.value())
        #expect(got.hash == checksum(answer) && got.count == answer.count && got.end == .end)
      }
    }
  }

  @Test func `nothing at all is a connection, too`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      client.finish()
      let other = try #require(server.accept())
      #expect(other.read() == ([], .end))
      other.close()
      #expect(client.read() == ([], .end))
    }
  }

  @Test func `fifty megabytes arrive whole in both directions at once`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let (there, back) = (pattern(50_000_000, seed: 3), pattern(50_000_000, seed: 4))
      let readers = [Running { other.digest() }, Running { client.digest() }]
      let writers = [
        Running {
          defer { client.finish() }
          return client.write(there)
        },
        Running {
          defer { other.finish() }
          return other.write(back)
        },
      ]
      for writer in writers { #expect(writer.value(within: 60) == true) }
      let got = readers.map { $0.value(within: 60) }
      #expect(got[0]?.hash == checksum(there) && got[0]?.count == there.count && got[0]?.end == .end)
      #expect(got[1]?.hash == checksum(back) && got[1]?.count == back.count && got[1]?.end == .end)
    }
  }

  @Test func `what was written before a close arrives, however much and however slowly it is read`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let all = pattern(2_000_000)
      let writer = Running {
        defer { client.close() }
        return client.write(all)
      }
      usleep(300_000)
      let got = other.digest()
      #expect(got.hash == checksum(all) && got.count == all.count && got.end == .end)
      #expect(writer.value() == true)
    }
  }

  @Test func `who does not read stops the sender, and memory stays bounded`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let limit = 200_000_000
      for (writer, reader) in [(client, other), (other, client)] {
        let written = writer.writeUntilFull(limit: limit)
        // The window, and what the two kernels hold: a few megabytes on each side.
        #expect(written < 40_000_000, "\(written)")
        #expect(reader.read(limit: written).bytes.count == written)
      }
    }
  }

  @Test func `a reset is passed on as a reset, in either direction`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      for clientResets in [true, false] {
        let client = try #require(TestSocket.connect(port: port))
        let other = try #require(server.accept())
        let (first, second) = clientResets ? (client, other) : (other, client)
        first.write([1])
        #expect(second.read(limit: 1).bytes == [1])
        first.reset()
        #expect(second.read().end == .reset)
      }
    }
  }

  @Test func `a reset after the end is passed on, and takes nothing away of what was said before`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let all = pattern(100_000)
      client.write(all)
      client.finish()
      usleep(100_000)
      client.reset()
      let got = other.digest()
      #expect(got.hash == checksum(all) && got.count == all.count && got.end == .end)
      #expect(other.isBroken())
      // An end alone breaks nothing.
      let quiet = try #require(TestSocket.connect(port: port))
      let listener = try #require(server.accept())
      quiet.finish()
      #expect(listener.read() == ([], .end))
      #expect(!listener.isBroken(within: 0.3))
    }
  }

  @Test func `who is silent has to show that it is there, and only a few have wide buffers`() async throws {
    let server = TestServer()
    let target = Endpoint.tcp(host: "127.0.0.1", port: server.port)
    func option(_ socket: any NIOCore.Channel, _ option: ChannelOptions.Types.SocketOption) async throws -> Int {
      Int(try await socket.getOption(option).get())
    }
    for isWide in [true, false] {
      let socket = try await Connector.connect(to: target, isWide: isWide) { true }.get()
      #expect(try await option(socket, .socketOption(.so_keepalive)) == 1)
      #expect(try await option(socket, .tcpOption(.init(rawValue: TCP_KEEPIDLE))) == Limits.Forward.keepAliveIdle)
      #expect(try await option(socket, .tcpOption(.init(rawValue: TCP_KEEPCNT))) == Limits.Forward.keepAliveProbes)
      // The kernel doubles what it is told.
      let isFixed = try await option(socket, .socketOption(.so_rcvbuf)) == 2 * Limits.Forward.receiveBuffer
      #expect(isFixed != isWide)
      try await socket.close().get()
    }
    // Those that a listener accepted, as the kernel tells: a timer of kind 2 that runs.
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      _ = try #require(server.accept())
      #expect(eventually { Self.timers(ofLocalPort: port) == ["02"] })
      withExtendedLifetime(client) {}
    }
  }

  /// The kinds of the timers of connections of 127.0.0.1 at this port, as proc_net_tcp(5) has them.
  private static func timers(ofLocalPort port: UInt16) -> [String] {
    guard let file = fopen("/proc/net/tcp", "r") else { return [] }
    defer { fclose(file) }
    let hexadecimal = String(port, radix: 16, uppercase: true)
    let local = ":" + String(repeating: "0", count: 4 - hexadecimal.count) + hexadecimal
    var line = [CChar](repeating: 0, count: 512)
    var kinds: [String] = []
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      let fields = text.split(separator: " ")
      if fields.count > 5, fields[1].hasSuffix(local), fields[3] == "01" { kinds.append(String(fields[5].prefix(2))) }
    }
    return kinds
  }

  @Test func `what nobody takes any more stops the sender`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let writer = Running { other.write([UInt8](repeating: 1, count: 100_000_000)) }
      #expect(client.read(limit: 10_000).end == .enough)
      client.close()
      #expect(writer.value() == false)
    }
  }

  @Test func `a connection that the target refuses is reset`() async throws {
    let port = freePort()
    let pair = try await ForwardPair(allow: ["localhost:*"], local: ["127.0.0.1:0:localhost:\(port)"])
    let local = try await pair.start()[0]
    let client = try #require(TestSocket.connect(port: local))
    #expect(client.read().end == .reset)
    await pair.end()
  }

  @Test func `a hundred connections at once, each with its own bytes`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { _, port in
      let echo = Running {
        var all: [Running<Bool>] = []
        for _ in 0..<100 {
          guard let other = server.accept() else { return false }
          all.append(
            Running {
              let got = other.read()
              let isDone = other.write(got.bytes.reversed())
              other.close()
              return isDone && got.end == .end
            })
        }
        return all.allSatisfy { $0.value() == true }
      }
      let clients = (0..<100).compactMap { _ in TestSocket.connect(port: port) }
      #expect(clients.count == 100)
      let results = clients.enumerated().map { index, client in
        Running {
          let bytes = pattern(40_000 + index, seed: UInt64(index))
          client.write(bytes)
          client.finish()
          return client.read() == (bytes.reversed(), .end)
        }
      }
      for result in results { #expect(result.value() == true) }
      #expect(echo.value() == true)
    }
  }

  @Test func `connections beyond the hundredth wait for their turn`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { pair, port in
      let clients = (0..<130).compactMap { _ in TestSocket.connect(port: port) }
      #expect(clients.count == 130)
      var accepted: [TestSocket] = []
      while accepted.count < Limits.Forward.connections, let next = server.accept() { accepted.append(next) }
      #expect(accepted.count == Limits.Forward.connections)
      #expect(server.accept(within: 0.3) == nil)
      let isTold = await comesTrue { pair.events.withLock { if case .full(100)? = $0.first { true } else { false } } }
      #expect(isTold)
      for socket in accepted {
        socket.write([1])
        socket.close()
      }
      for client in clients { client.finish() }
      for _ in 0..<30 {
        let next = try #require(server.accept())
        next.write([2])
        next.close()
      }
      #expect(clients.map { $0.read().bytes }.count { $0 == [2] } == 30)
    }
  }

  @Test func `two thousand connections, one after the other`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { pair, port in
      let echo = Running {
        for _ in 0..<2_000 {
          guard let other = server.accept() else { return false }
          other.write(other.read().bytes)
          other.close()
        }
        return true
      }
      let client = Running {
        var done = 0
        for number in 0..<2_000 {
          guard let socket = TestSocket.connect(port: port) else { return done }
          let bytes = Array("\(number)".utf8)
          socket.write(bytes)
          socket.finish()
          if socket.read() == (bytes, .end) { done += 1 }
        }
        return done
      }
      #expect(client.value(within: 90) == 2_000)
      #expect(echo.value() == true)
    }
  }

  @Test func `a transfer goes on over the next connection, byte for byte`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server) { pair, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      let all = pattern(30_000_000)
      let reader = Running { other.digest() }
      let writer = Running {
        for start in stride(from: 0, to: all.count, by: 1_000_000) {
          guard client.write(Array(all[start..<min(start + 1_000_000, all.count)])) else { return false }
          usleep(10_000)
        }
        client.finish()
        return true
      }
      for _ in 0..<5 {
        usleep(60_000)
        pair.cut()
        pair.connect()
      }
      #expect(writer.value() == true)
      let got = reader.value()
      #expect(got?.hash == checksum(all) && got?.count == all.count && got?.end == .end)
    }
  }

  @Test func `when the peer stays away connections end, new ones are reset, and its return heals that`() async throws {
    let server = TestServer()
    try await ForwardPair.local(to: server, timeout: 3) { pair, port in
      let client = try #require(TestSocket.connect(port: port))
      let other = try #require(server.accept())
      pair.cut()
      // Not yet: it may come back.
      let waiting = try #require(TestSocket.connect(port: port))
      for _ in 0..<4 {
        pair.guestSession.tick(1)
        pair.hostSession.tick(1)
      }
      #expect(client.read().end == .reset)
      #expect(other.read().end == .reset)
      #expect(waiting.read().end == .reset)
      let refused = try #require(TestSocket.connect(port: port))
      #expect(refused.read().end == .reset)
      pair.connect()
      let again = try #require(TestSocket.connect(port: port))
      again.write([5])
      #expect(server.accept()?.read(limit: 1).bytes == [5])
    }
  }
}

import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSForward

/// Listeners: at the peer, at paths, and at addresses that are taken.
@Suite(.onThreads) struct ListenerTests {
  private func temporaryPath(_ name: String) -> String { "/tmp/p2pfs-forward-\(getpid())-\(name)" }

  @Test func `the peer listens, and its connections come here`() async throws {
    let server = TestServer()
    let pair = try await ForwardPair(
      allowListen: ["127.0.0.1:0"], remote: ["127.0.0.1:0:localhost:\(server.port)"])
    try await pair.start()
    let port = try #require(pair.remotePort)
    #expect(port > 0)
    for _ in 0..<3 {
      let client = try #require(TestSocket.connect(port: port))
      client.write([1, 2, 3])
      client.finish()
      let other = try #require(server.accept())
      #expect(other.read() == ([1, 2, 3], .end))
      other.write([4])
      other.close()
      #expect(client.read() == ([4], .end))
    }
    await pair.end()
    #expect(eventually { TestSocket.connect(port: port) == nil })
  }

  @Test func `paths of sockets work on both sides, are private, and are gone afterwards`() async throws {
    let (here, there) = (temporaryPath("here"), temporaryPath("there"))
    let (far, back) = (temporaryPath("far"), temporaryPath("back"))
    defer { for path in [there, back] { unlink(path) } }
    let (server, receiver) = (TestServer(path: there), TestServer(path: back))
    let pair = try await ForwardPair(
      allow: [there], allowListen: [far], local: ["\(here):\(there)"], remote: ["\(far):\(back)"])
    try await pair.start()
    for path in [here, far] {
      var status = stat()
      #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600, "\(path)")
    }
    for (path, target) in [(here, server), (far, receiver)] {
      let client = try #require(TestSocket.connect(path: path))
      let all = pattern(1_000_000)
      let writer = Running {
        defer { client.finish() }
        return client.write(all)
      }
      let other = try #require(target.accept())
      #expect(other.digest().hash == checksum(all))
      #expect(writer.value() == true)
      other.write(Array("thanks".utf8))
      other.close()
      #expect(client.read() == (Array("thanks".utf8), .end))
      // One that says its word and is gone without waiting.
      let hasty = try #require(TestSocket.connect(path: path))
      let writing = Running {
        defer { hasty.close() }
        return hasty.write(all)
      }
      #expect(target.accept()?.digest().hash == checksum(all))
      #expect(writing.value() == true)
    }
    await pair.end()
    for path in [here, far] { #expect(eventually { access(path, F_OK) != 0 }, "\(path)") }
  }

  @Test func `an address that is taken is said before anything else, and nothing of it is touched`() async throws {
    let taken = TestServer()
    await #expect(throws: ForwardError.self) {
      _ = try await ForwardPair(local: ["127.0.0.1:\(taken.port):localhost:1"])
    }
    // Also if it is so at the second of two addresses only.
    await #expect(throws: ForwardError.self) { _ = try await ForwardPair(local: ["\(taken.port):localhost:1"]) }
    let path = temporaryPath("alive")
    defer { unlink(path) }
    let alive = TestServer(path: path)
    await #expect(throws: ForwardError.self) { _ = try await ForwardPair(local: ["\(path):localhost:1"]) }
    #expect(TestSocket.connect(path: path) != nil && alive.accept() != nil)
    let file = temporaryPath("file")
    defer { unlink(file) }
    close(open(file, O_CREAT | O_WRONLY, 0o600))
    await #expect(throws: ForwardError.self) { _ = try await ForwardPair(local: ["\(file):localhost:1"]) }
    #expect(access(file, F_OK) == 0)
  }

  @Test func `two that only wait cannot have one address`() throws {
    let path = temporaryPath("twice")
    defer { unlink(path) }
    let first = try ListeningSocket.listen(at: .tcp(host: "127.0.0.1", port: 0))
    for endpoint in [Endpoint.tcp(host: "127.0.0.1", port: first[0].port), .unix(path: path)] {
      let own = endpoint.isTCP ? first : try ListeningSocket.listen(at: endpoint)
      let failure = #expect(throws: ListeningSocket.Failure.self) { try ListeningSocket.listen(at: endpoint) }
      #expect(failure?.number == EADDRINUSE, "\(endpoint)")
      for socket in own { socket.release() }
      for socket in try ListeningSocket.listen(at: endpoint) { socket.release() }
    }
  }

  @Test func `a full backlog of a Unix socket is waited for`() async throws {
    let path = temporaryPath("full")
    defer { unlink(path) }
    let server = TestServer(path: path, backlog: 0)
    let first = try #require(TestSocket.connect(path: path))
    let pair = try await ForwardPair(allow: [path], local: ["127.0.0.1:0:\(path)"])
    let client = try #require(TestSocket.connect(port: try await pair.start()[0]))
    client.write([7])
    usleep(300_000)
    #expect(server.accept() != nil)
    #expect(server.accept()?.read(limit: 1).bytes == [7])
    withExtendedLifetime(first) {}
    await pair.end()
  }

  @Test func `a guest that came back as another one gets the address of the one that is gone`() async throws {
    for isNoticed in [true, false] {
      let server = TestServer()
      let port = freePort()
      let remote = "127.0.0.1:\(port):localhost:\(server.port)"
      let pair = try await ForwardPair(allowListen: ["127.0.0.1:\(port)"], remote: [remote])
      try await pair.start()
      if isNoticed { pair.cut() }
      let other = try await OtherGuest(of: pair.host, remote: remote)
      let asked = try other.ask("127.0.0.1:\(port)")
      if !isNoticed {
        // As long as the first may be there it keeps what it has.
        usleep(1_000_000)
        #expect(!asked.isOpen() && asked.channel.failure == nil)
        pair.cut()
      }
      #expect(eventually(within: 15) { asked.isOpen() })
      let client = try #require(TestSocket.connect(port: port))
      client.write([3])
      #expect(server.accept()?.read(limit: 1).bytes == [3])
      // The first comes back after all, and does not get it while the other one is there.
      pair.connect()
      let isLost = await comesTrue {
        pair.events.withLock { $0.contains { if case .lostThere = $0 { true } else { false } } }
      }
      #expect(isLost)
      #expect(TestSocket.connect(port: port) != nil)
      other.end()
      await pair.end()
    }
  }

  @Test func `of two guests that are both there the first keeps the address`() async throws {
    let port = freePort()
    let remote = "127.0.0.1:\(port):localhost:1"
    let pair = try await ForwardPair(allowListen: ["127.0.0.1:\(port)"], remote: [remote])
    try await pair.start()
    let other = try await OtherGuest(of: pair.host, remote: remote)
    let asked = try other.ask("127.0.0.1:\(port)")
    #expect(eventually(within: 2 * Limits.Forward.takeover) { asked.channel.failure != nil })
    #expect(asked.channel.failure == .reset(.failed, "another guest listens there"))
    #expect(TestSocket.connect(port: port) != nil)
    #expect(pair.events.withLock { $0.count } == 1)
    other.end()
    await pair.end()
  }

  @Test func `a socket that a dead process left behind is replaced`() async throws {
    let path = temporaryPath("stale")
    // Bound, and closed without being removed.
    do { _ = TestServer(path: path) }
    #expect(access(path, F_OK) == 0 && TestSocket.connect(path: path) == nil)
    let server = TestServer()
    let target = "localhost:\(server.port)"
    let pair = try await ForwardPair(allow: [target], local: ["\(path):\(target)"])
    // A connection that comes before the forward is up waits for it.
    let early = try #require(TestSocket.connect(path: path))
    early.write([1])
    #expect(server.accept(within: 0.2) == nil)
    try await pair.start()
    #expect(server.accept()?.read(limit: 1).bytes == [1])
    await pair.end()
    #expect(eventually { access(path, F_OK) != 0 })
  }

  @Test func `a socket that somebody has put in the place of ours stays`() async throws {
    let path = temporaryPath("replaced")
    defer { unlink(path) }
    let server = TestServer()
    let target = "localhost:\(server.port)"
    let pair = try await ForwardPair(allow: [target], local: ["\(path):\(target)"])
    try await pair.start()
    unlink(path)
    let other = TestServer(path: path)
    await pair.end()
    usleep(50_000)
    #expect(TestSocket.connect(path: path) != nil && other.accept() != nil)
  }

  @Test func `what the other side does not allow, or cannot, is told apart`() async throws {
    let taken = TestServer()
    let refusals: [(ForwardPair, String)] = [
      (try await ForwardPair(local: ["127.0.0.1:0:localhost:5432"]), "targetRefused"),
      (try await ForwardPair(allowListen: ["1"], remote: ["8080:localhost:1"]), "listenRefused"),
      (
        try await ForwardPair(
          allowListen: ["127.0.0.1:\(taken.port)"], remote: ["127.0.0.1:\(taken.port):localhost:1"]),
        "cannotListenThere"
      ),
    ]
    for (pair, expected) in refusals {
      do {
        try await pair.start()
        Issue.record("\(expected): it went well")
      } catch { #expect("\(error)".contains(expected), "\(error)") }
      await pair.end()
    }
  }

  @Test func `after the peer was away for long, it is asked to listen again`() async throws {
    let server = TestServer()
    let pair = try await ForwardPair(
      allowListen: ["127.0.0.1:0"], remote: ["127.0.0.1:0:localhost:\(server.port)"], timeout: 3)
    try await pair.start()
    let first = try #require(pair.remotePort)
    pair.cut()
    for _ in 0..<4 {
      pair.guestSession.tick(1)
      pair.hostSession.tick(1)
    }
    #expect(eventually { TestSocket.connect(port: first) == nil })
    pair.connect()
    #expect(await comesTrue { pair.events.withLock { $0.count } == 3 }, "listens, lost, listens")
    let client = try #require(TestSocket.connect(port: pair.remotePort ?? 0))
    client.write([1])
    #expect(server.accept()?.read(limit: 1).bytes == [1])
    await pair.end()
  }
}

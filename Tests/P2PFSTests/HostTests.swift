import Rig
import P2PFSMeeting
import P2PFSCore
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import Testing
import P2PFSTransport

@testable import P2PFS

/// What a host's program hears of, and who is there when.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct HostTests {
  private func startServer(port: UInt16 = 0) async throws -> SignalServer {
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(port)
    configuration.answersStun = false
    return try await SignalServer.start(configuration)
  }

  private func options(_ server: SignalServer, timeout: Duration = .seconds(30)) -> Peer.Options {
    var options = Peer.Options()
    options.server = "127.0.0.1:\(server.port)"
    options.timeout = timeout
    return options
  }

  /// The code with other words.
  private func wrong(_ code: String) throws -> String {
    let at = try #require(code.firstIndex(of: "@"))
    let word = code[..<at].hasSuffix("babad") ? "dadab" : "babad"
    return code[..<at].dropLast(5) + word + code[at...]
  }

  @Test func `a reader of guests, codes or states that is cancelled stops nobody else`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    let readers = [
      Task { for await _ in host.peers {} },
      Task { for await _ in host.codes {} },
      Task { for await _ in host.events {} },
    ]
    try await Task.sleep(for: .milliseconds(100))
    for reader in readers {
      reader.cancel()
      await reader.value
    }
    let peer = try await Peer.connect(to: host.code)
    let guest = try #require(await host.peers.first { _ in true })
    let states = Task { for await _ in guest.states {} }
    states.cancel()
    await states.value
    #expect(await guest.states.first { _ in true } == .online)
    for _ in 0..<2 {
      #expect(await host.codes.first { _ in true } == host.code)
      #expect(await host.events.first { _ in true } == .reachable)
    }
    await peer.close()
    await host.close()
  }

  @Test func `a host says that a wrong code was tried, and each new code`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    let events = Task { await host.events.reduce(into: [Host.Event]()) { $0.append($1) } }
    let codes = (0..<2).map { _ in Task { await host.codes.reduce(into: [String]()) { $0.append($1) } } }
    let first = host.code
    for _ in 0..<10 { await expect(.wrongCode) { _ = try await Peer.connect(to: try wrong(first)) } }
    #expect(await comesTrue { host.code != first })
    let second = host.code
    await host.close()
    #expect(await events.value == [.reachable] + (0..<10).reversed().map { .wrongCode(triesLeft: $0) })
    for codes in codes { #expect(await codes.value == [first, second]) }
  }

  @Test func `a host says that it cannot be reached, and that it can again`() async throws {
    let server = try await startServer()
    let host = try await Host.start(options: options(server))
    var events = host.events.makeAsyncIterator()
    #expect(await events.next() == .reachable)
    await server.shutdown()
    guard case .unreachable(let why) = await events.next() else { throw PeerError(.signaling, "still reachable?") }
    #expect(!why.isEmpty)
    #expect(await host.events.first { _ in true } == .unreachable(why))
    let again = try await startServer(port: server.port)
    #expect(await events.next() == .reachable)
    let peer = try await Peer.connect(to: host.code)
    await peer.close()
    await host.close()
    #expect(await events.next() == nil)
    await again.shutdown()
  }

  @Test func `callbacks hear of guests and of how they stand, and keep nobody`() async throws {
    var host: Host? = try await Host.start(address: "127.0.0.1")
    let heard = Mutex<[Peer.State]>([])
    let task = host?.onPeer { peer in
      peer.onState { state in heard.withLock { $0.append(state) } }
    }
    let code = try #require(host?.code)
    var peers = [try await Peer.connect(to: code)]
    #expect(await comesTrue { heard.withLock { $0 } == [.online] })
    peers = []
    #expect(await comesTrue { heard.withLock { $0 } == [.online, .closed] })
    peers = [try await Peer.connect(to: code)]
    #expect(await comesTrue { heard.withLock { $0.count } == 3 })
    host = nil
    await task?.value
    #expect(await comesTrue { heard.withLock { $0 } == [.online, .closed, .online, .closed] })
    #expect(await comesTrue { peers[0].state == .closed })
  }

  @Test func `its sequences keep a peer and a host`() async throws {
    var codes: Feed<String>.AsyncIterator? = try await Host.start(address: "127.0.0.1").codes.makeAsyncIterator()
    let code = try #require(await codes?.next())
    var states: Feed<Peer.State>.AsyncIterator? = try await Peer.connect(to: code).states.makeAsyncIterator()
    #expect(await states?.next() == .online)
    let second = try await Peer.connect(to: code)
    try await Task.sleep(for: .milliseconds(300))
    #expect(second.state == .online)
    // Neither has heard of an end.
    let waiting = Task { [states] in
      var states = states
      return await states?.next()
    }
    try await Task.sleep(for: .milliseconds(300))
    waiting.cancel()
    #expect(await waiting.value == nil)
    states = nil
    codes = nil
    #expect(await comesTrue { second.state == .closed })
  }

  @Test func `a guest waits for a host, if it is told to`() async throws {
    let server = try await startServer()
    var options = options(server)
    let code = "123456-lusab-babad"
    await expect(.nobodyThere) { _ = try await Peer.connect(to: code, options: options) }
    options.waits = true
    let connecting = (0..<2).map { [options] _ in Task { try await Peer.connect(to: code, options: options) } }
    try await Task.sleep(for: .milliseconds(300))
    connecting[1].cancel()
    await expect(.cancelled) { _ = try await connecting[1].value }
    let host = try await Host.start(code: code, options: options)
    let peer = try await connecting[0].value
    #expect(peer.state == .online)
    await peer.close()
    await host.close()
    await server.shutdown()
  }

  @Test func `a host that is away for longer than the timeout is given up`() async throws {
    let server = try await startServer()
    let address = ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port)
    var configuration = HostedRoom.Configuration()
    configuration.ice.includesLoopback = true
    configuration.onChannel = { channel, _ in channel.accept() }
    let (codes, feed) = AsyncStream.makeStream(of: String.self)
    let guests = Mutex<[Session]>([])
    let host = HostedRoom(configuration, server: address) { event in
      switch event {
      case .ready(let code, _): feed.yield(code.text)
      case .arrived(let session, _): guests.withLock { $0.append(session) }
      default: break
      }
    }
    let running = Task { try? await host.run() }
    let code = try #require(await codes.first { _ in true })
    let peer = try await Peer.connect(to: code, options: options(server, timeout: .seconds(2)))
    let channel = try await peer.open("test")
    let waiting = [
      Task { await expect(.gone) { for try await _ in channel {} } },
      Task { () -> PeerError? in
        for await _ in peer.channels {}
        return nil
      },
    ]
    let states = Task { await peer.states.reduce(into: [Peer.State]()) { $0.append($1) } }
    try await Task.sleep(for: .milliseconds(100))
    // Without a word, as if it had died.
    running.cancel()
    for session in guests.withLock({ $0 }) { session.suspend() }
    #expect(await states.value == [.online, .offline, .closed])
    for task in waiting { _ = await task.value }
    await expect(.gone) { _ = try await peer.open("more") }
    await expect(.gone) { _ = try await peer.files.list() }
    await host.stop()
    await server.shutdown()
  }

  @Test func `a guest that is away for longer than the timeout is given up`() async throws {
    let server = try await startServer()
    let host = try await Host.start(options: options(server, timeout: .seconds(2)))
    let (code, address) = try Peer.parse(host.code)
    var guest = Rendezvous(code, as: .guest, at: try #require(address))
    guest.ice.includesLoopback = true
    guest.onChannel = { $0.accept() }
    let met = try await guest.meet { _ in }
    let peer = try #require(await host.peers.first { _ in true })
    let channel = try await peer.open("test")
    let states = Task { await peer.states.reduce(into: [Peer.State]()) { $0.append($1) } }
    try await Task.sleep(for: .milliseconds(100))
    // Without a word, as if it had died.
    met.session.suspend()
    await expect(.gone) { for try await _ in channel {} }
    for await _ in peer.channels {}
    #expect(await states.value == [.online, .offline, .closed])
    // There is room for another one.
    let next = try await Peer.connect(to: host.code)
    #expect(await host.peers.first { _ in true } != nil)
    await next.close()
    await host.close()
    await met.end()
    await server.shutdown()
  }
}

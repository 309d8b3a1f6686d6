import P2PFSCore
import Glibc
import NIOCore
import Rig
import P2PFSSession
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSForward

/// A guest, or a host, that does not play by the rules. No other test of this process looks up names, which are counted.
@Suite(.onThreads) struct HostileTests {
  // It counts the lookups of the process.
  @Test(.alone) func `a guest that asks for what is not allowed gets nothing: no connection, no lookup, no listener`()
    async throws
  {
    let server = TestServer()
    let allowed = TestServer()
    let pair = try await ForwardPair(
      allow: ["localhost:\(allowed.port)", "other.invalid:*"], allowListen: ["localhost:1"])
    let before = NameLookup.begun.load(ordering: .relaxed)
    let asked = [
      "forward:connect:localhost:\(server.port)", "forward:connect:127.0.0.1:\(server.port)",
      "forward:connect:[::1]:\(server.port)", "forward:check:localhost:\(server.port)",
      "forward:connect:127.0.0.1:\(allowed.port)", "forward:connect:2130706433:\(allowed.port)",
      "forward:connect:0x7f.1:\(allowed.port)", "forward:connect:localhost.:\(allowed.port)",
      "forward:connect:never.looked.up.invalid:80", "forward:connect:other.invalid.:80",
      "forward:connect:/var/run/docker.sock", "forward:listen:0:localhost:0", "forward:listen:0:localhost:8080",
      "forward:listen:0:*:1", "forward:listen:0:/tmp/p2pfs-hostile", "forward:accepted:0",
    ]
    for name in asked + HostileNames.all.filter({ $0.hasPrefix("forward:") }) {
      let channel = try pair.guestSession.openChannel(name)
      _ = try? channel.send(piece("GET /"))
      #expect(eventually { channel.failure != nil }, "\(name.debugDescription)")
      guard case .reset(.refused, _)? = channel.failure else {
        Issue.record("\(name.debugDescription): \(String(describing: channel.failure))")
        continue
      }
    }
    #expect(server.accept(within: 0.2) == nil && allowed.accept(within: 0) == nil)
    #expect(NameLookup.begun.load(ordering: .relaxed) == before)
    #expect(pair.guestSession.isOnline)
    await pair.end()
  }

  @Test func `a name that does not exist fails the connection and nothing else`() async throws {
    let pair = try await ForwardPair(allow: ["no.such.name.invalid:*"])
    let channels = try (1...9).map { try pair.guestSession.openChannel("forward:connect:no.such.name.invalid:\($0)") }
    for channel in channels {
      #expect(eventually(within: 2 * Limits.Forward.connect) { channel.failure != nil })
      guard case .reset(.failed, let why)? = channel.failure else {
        Issue.record("\(String(describing: channel.failure))")
        continue
      }
      #expect(why.hasPrefix("no.such.name.invalid:"), "\(why)")
    }
    #expect(pair.guestSession.isOnline)
    await pair.end()
  }

  @Test func `a guest that opens without end, reads nothing and says nothing is bounded`() async throws {
    let server = TestServer()
    let target = "localhost:\(server.port)"
    let pair = try await ForwardPair(allow: [target])
    let flood = Running {
      var accepted: [TestSocket] = []
      // Every connection pours data into a channel that nobody reads.
      while let next = server.accept(within: 1.5) {
        _ = next.writeUntilFull(limit: 2_000_000)
        accepted.append(next)
      }
      return accepted.count
    }
    var open: [SessionChannel] = []
    for _ in 0..<Limits.Channel.open { open.append(try pair.guestSession.openChannel("forward:connect:\(target)")) }
    #expect(throws: SessionChannelError.self) { try pair.guestSession.openChannel("forward:connect:\(target)") }
    let count = try #require(flood.value(within: 90))
    #expect(count <= Limits.Channel.open)
    // Thousands that are given up at once.
    for channel in open { channel.reset(.cancelled) }
    for _ in 0..<3_000 {
      let channel = try pair.guestSession.openChannel("forward:connect:\(target)")
      channel.reset(.cancelled)
    }
    #expect(eventually(within: 20) { server.accept(within: 0.1) == nil })
    #expect(pair.guestSession.isOnline)
    // It serves on.
    let last = AsyncChannel(try pair.guestSession.openChannel("forward:connect:\(target)"))
    let other = try #require(server.accept())
    other.write([42])
    let got = try await last.next(after: nil)
    #expect(got?.count == 1)
    await pair.end()
  }

  @Test func `a guest gets so many listeners and no more, and asking anew replaces`() async throws {
    let pair = try await ForwardPair(allowListen: ["0"])
    var open: [SessionChannel] = []
    for number in 0..<Limits.Forward.listeners + 1 {
      open.append(try pair.guestSession.openChannel("forward:listen:\(number):localhost:0"))
    }
    let last = open.removeLast()
    #expect(eventually { last.failure != nil })
    var ports: [UInt16] = []
    for channel in open {
      try await channel.opened()
      let piece = try await AsyncChannel(channel).next(after: nil)
      if let piece {
        var reader = Reader(piece.frame, from: piece.range.lowerBound)
        ports.append(try reader.integer())
      }
    }
    #expect(ports.count == Limits.Forward.listeners && Set(ports).count == ports.count)
    let again = try pair.guestSession.openChannel("forward:listen:0:localhost:0")
    try await again.opened()
    #expect(eventually { open[0].failure != nil })
    let refused = ports[0]
    #expect(eventually { TestSocket.connect(port: refused) == nil })
    #expect(TestSocket.connect(port: ports[1]) != nil)
    pair.guestSession.end()
    for port in ports { #expect(eventually { TestSocket.connect(port: port) == nil }, "its listeners go with it") }
    await pair.end()
  }

  @Test func `a host that opens what was never asked for is refused, and nothing is connected`() async throws {
    let server = TestServer()
    let pair = try await ForwardPair(
      allowListen: ["0"], remote: ["0:localhost:\(server.port)"])
    try await pair.start()
    for name in [
      "forward:accepted:1", "forward:accepted:255", "forward:accepted:-1", "forward:accepted:00000",
      "forward:connect:localhost:\(server.port)", "forward:listen:0:localhost:0", "forward:check:localhost:1", "else",
      "",
    ] {
      let channel = try pair.hostSession.openChannel(name)
      #expect(eventually { channel.failure != nil }, "\(name)")
    }
    #expect(server.accept(within: 0.2) == nil)
    await pair.end()
  }

  @Test func `a host that answers nonsense, or nothing in time, is no disaster`() async throws {
    let identity = ForwardPair.identity
    let (host, guest) = (Session(.init(identity: identity)), Session(.init(identity: identity)))
    let forwards = try await ForwardGuest(local: [], remote: [try ForwardSpec(parsing: "0:localhost:1")])
    host.acceptChannels { channel in
      channel.accept()
      _ = try? channel.send(Self.piece("far too long an answer"))
    }
    let links = MemoryLink.pair()
    guest.connect(links.0)
    host.connect(links.1)
    #expect(eventually { guest.isOnline && host.isOnline })
    await #expect(throws: ForwardError.self) { try await forwards.ask(guest) { _ in } }
    forwards.end()
    guest.end()
    host.end()
    withExtendedLifetime(links) {}
  }

  @Test func `a host that lets go of what it has promised is asked ever more rarely`() async throws {
    let begun = ContinuousClock.now
    let events = try await Self.events { events in
      events.count { if case .listensThere = $0 { true } else { false } } == 3
    } answer: { channel, _ in
      channel.accept()
      _ = try? channel.send(Self.piece("\u{1}\u{1}"))
      Task {
        try await Task.sleep(for: .milliseconds(50))
        channel.reset(.failed, "changed its mind")
      }
    }
    #expect(events.count >= 5, "\(events)")
    // Pauses of 0.5 and 1 second, and what the peer takes besides.
    #expect(begun.duration(to: .now) >= .milliseconds(1_500))
  }

  @Test func `why a host does not listen any more is told once`() async throws {
    let asked = Mutex(0)
    let events = try await Self.events { events in
      // Some more times than it is told.
      events.count > 3 || asked.withLock { $0 } == 4
    } answer: { channel, number in
      asked.withLock { $0 += 1 }
      guard number == 0 else { return channel.reset(.refused, "not allowed") }
      channel.accept()
      _ = try? channel.send(Self.piece("\u{1}\u{1}"))
      Task {
        try await Task.sleep(for: .milliseconds(50))
        channel.reset(.failed, "started anew")
      }
    }
    #expect(events.count == 3, "\(events)")
    guard case .refusedThere(_, .listenRefused)? = events.last else {
      Issue.record("\(events)")
      return
    }
    #expect(asked.withLock { $0 } >= 4)
  }

  /// What a guest with one listener at the peer is told by a host of which only `answer` is there, until that is enough;
  /// `answer` has each channel and how many there were before.
  private static func events(
    isEnough: ([ForwardGuest.Event]) -> Bool, answer: @escaping @Sendable (SessionChannel, Int) -> Void
  ) async throws -> [ForwardGuest.Event] {
    let (host, guest) = (Session(.init(identity: ForwardPair.identity)), Session(.init(identity: ForwardPair.identity)))
    let forwards = try await ForwardGuest(local: [], remote: [try ForwardSpec(parsing: "0:localhost:1")])
    let count = Mutex(0)
    host.acceptChannels { channel in
      answer(
        channel,
        count.withLock { count in
          defer { count += 1 }
          return count
        })
    }
    let links = MemoryLink.pair()
    guest.connect(links.0)
    host.connect(links.1)
    #expect(eventually { guest.isOnline && host.isOnline })
    let events = Mutex<[ForwardGuest.Event]>([])
    try await forwards.ask(guest) { event in events.withLock { $0.append(event) } }
    #expect(await comesTrue { isEnough(events.withLock { $0 }) })
    forwards.end()
    guest.end()
    host.end()
    withExtendedLifetime(links) {}
    return events.withLock { $0 }
  }

  @Test func `a host that says nothing is told apart from one that says no`() async throws {
    let pair = try await ForwardPair()
    let asked = Mutex<SessionChannel?>(nil)
    pair.hostSession.acceptChannels { channel in asked.withLock { $0 = channel } }
    let channel = try pair.guestSession.openChannel("forward:check:localhost:1")
    let failure = await #expect(throws: ForwardError.self) {
      try await channel.inTime(seconds: 0.2) { channel throws(SessionChannelError) in try await channel.opened() }
    }
    guard case .noAnswer? = failure else {
      Issue.record("\(String(describing: failure))")
      return
    }
    await pair.end()
  }

  @Test func `a guest that asks to listen and gives up at once, over and over, leaves nothing behind`() async throws {
    let pair = try await ForwardPair(allowListen: ["127.0.0.1:0"])
    for _ in 0..<500 { try pair.guestSession.openChannel("forward:listen:0:127.0.0.1:0").reset(.cancelled) }
    // What is not wanted any more when a thread is free is not begun.
    let isBegun = Mutex(false)
    await #expect(throws: NameLookup.Failure.self) {
      try await NameLookup.onThread(if: { false }) { isBegun.withLock { $0 = true } }.get()
    }
    #expect(!isBegun.withLock { $0 })
    let last = try pair.guestSession.openChannel("forward:listen:0:127.0.0.1:0")
    try await last.opened()
    #expect(pair.guestSession.isOnline)
    await pair.end()
  }

  private func piece(_ text: String) -> Frame { Self.piece(text) }

  private static func piece(_ text: String) -> Frame {
    let bytes = Array(text.utf8)
    let frame = SessionChannel.piece(capacity: bytes.count)
    bytes.withUnsafeBytes { frame.write($0) }
    return frame
  }
}

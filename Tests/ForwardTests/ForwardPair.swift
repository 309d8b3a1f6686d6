import Glibc
import Rig
import P2PFSSession
import Synchronization
import Testing

@testable import P2PFSForward

/// A guest and a host that are connected by links in memory, and what the guest forwards.
final class ForwardPair: Sendable {
  static let identity = [UInt8](repeating: 9, count: 16)
  let hostSession: Session
  let guestSession: Session
  let host: ForwardHost
  let guest: ForwardGuest
  let events = Mutex<[ForwardGuest.Event]>([])
  private let links = Mutex<[(guest: MemoryLink, host: MemoryLink)]>([])

  init(
    allow: [String] = [], allowListen: [String] = [], local: [String] = [], remote: [String] = [],
    timeout: Double = 30
  ) async throws {
    host = ForwardHost(try ForwardPolicy(targets: allow, listens: allowListen))
    guest = try await ForwardGuest(
      local: local.map { try ForwardSpec(parsing: $0) }, remote: remote.map { try ForwardSpec(parsing: $0) })
    hostSession = Session(.init(identity: Self.identity, timeout: timeout))
    guestSession = Session(.init(identity: Self.identity, timeout: timeout))
    hostSession.acceptChannels { [host, weak hostSession] channel in
      if let hostSession { host.accept(channel, of: hostSession) }
    }
    guestSession.acceptChannels { [guest] in guest.accept($0) }
    connect()
  }

  /// Connects both sessions anew.
  func connect() {
    let (one, other) = MemoryLink.pair()
    links.withLock { $0.append((one, other)) }
    guestSession.connect(one)
    hostSession.connect(other)
    #expect(eventually { self.guestSession.isOnline && self.hostSession.isOnline })
  }

  /// Breaks the present connection.
  func cut() {
    links.withLock { $0.last }?.guest.cut()
    #expect(eventually { !self.guestSession.isOnline && !self.hostSession.isOnline })
  }

  /// Asks and listens; returns where, one for each local forward: ports of 127.0.0.1.
  @discardableResult
  func start() async throws -> [UInt16] {
    try await guest.ask(guestSession) { event in self.events.withLock { $0.append(event) } }
    return try await guest.start(guestSession).map { _, addresses in
      addresses.first.flatMap { $0.split(separator: ":").last }.flatMap { UInt16($0) } ?? 0
    }
  }

  /// Ends everything.
  func end() async {
    guest.end()
    guestSession.end()
    hostSession.end()
    await host.end()
  }

  /// The port at which the host listens for the last forward of `-R` that was told.
  var remotePort: UInt16? {
    for case .listensThere(_, .tcp(_, let port)) in events.withLock({ $0 }).reversed() { return port }
    return nil
  }

  /// One local forward to a server of the test, at a free port.
  static func local(
    to server: TestServer, timeout: Double = 30, _ body: (ForwardPair, UInt16) async throws -> Void
  ) async throws {
    let target = "localhost:\(server.port)"
    let pair = try await ForwardPair(allow: [target], local: ["127.0.0.1:0:\(target)"], timeout: timeout)
    let port = try await pair.start()[0]
    try await body(pair, port)
    await pair.end()
    #expect(eventually { TestSocket.connect(port: port) == nil }, "the listener is gone")
  }
}

/// Another guest of a host, which has it listen. It waits for nothing, so that a test can without a task.
final class OtherGuest: Sendable {
  private let guest: ForwardGuest
  private let sessions: (guest: Session, host: Session)
  private let links = MemoryLink.pair()

  init(of host: ForwardHost, remote: String) async throws {
    guest = try await ForwardGuest(local: [], remote: [try ForwardSpec(parsing: remote)])
    let identity = [UInt8](repeating: 8, count: 16)
    sessions = (Session(.init(identity: identity)), Session(.init(identity: identity)))
    sessions.host.acceptChannels { [weak session = sessions.host] channel in
      if let session { host.accept(channel, of: session) }
    }
    sessions.guest.acceptChannels { [guest] in guest.accept($0) }
    sessions.guest.connect(links.0)
    sessions.host.connect(links.1)
    #expect(eventually { self.sessions.guest.isOnline && self.sessions.host.isOnline })
  }

  /// Asks the host to listen.
  func ask(_ endpoint: String) throws -> (channel: SessionChannel, isOpen: () -> Bool) {
    let channel = try sessions.guest.openChannel("forward:listen:0:\(endpoint)")
    let isSettled = Atomic<Bool>(false)
    channel.whenOpened { isSettled.store(true, ordering: .relaxed) }
    return (channel, { isSettled.load(ordering: .relaxed) && channel.failure == nil })
  }

  func end() {
    guest.end()
    sessions.guest.end()
    sessions.host.end()
  }
}

/// Bytes that tell their place.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    for index in 0..<count {
      if index % 8 == 0 { state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 }
      buffer[index] = UInt8(truncatingIfNeeded: state >> UInt64((index % 8) * 8))
    }
    initialized = count
  }
}

func checksum(_ bytes: [UInt8]) -> UInt64 {
  var sum = Checksum()
  bytes.withUnsafeBytes { sum.add($0) }
  return sum.value
}

import P2PFSCore
import Glibc
import P2PFSPairing
import Rig
import P2PFSSession
import P2PFSSignaling
import Synchronization
import SystemPackage
import Testing

@testable import P2PFSMeeting

/// An export that is started again before there is a network.
@Suite(.timeLimit(.minutes(1))) struct StartTests {
  private func startServer(port: UInt16 = 0) async throws -> SignalServer {
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(port)
    configuration.answersStun = false
    return try await SignalServer.start(configuration)
  }

  /// Where nobody listens.
  private func freeAddress() async throws -> ServerAddress {
    let server = try await startServer()
    await server.shutdown()
    return ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port)
  }

  /// What an export said.
  private final class Heard: Sendable {
    let lines = Mutex<[String]>([])
    func note(_ event: HostedRoom.Event) {
      switch event {
      case .ready(let code, _): lines.withLock { $0.append(code.text) }
      case .signalingAwaited: lines.withLock { $0.append("awaited") }
      case .signalingLost: lines.withLock { $0.append("lost") }
      case .signalingBack: lines.withLock { $0.append("back") }
      default: break
      }
    }
  }

  @Test func `with guests that may come back it waits for the server`() async throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    let code = Code.random()
    var saved = SavedExport(code: code.text, token: RoomToken.random().bytes)
    saved.guests = [
      SavedExport.Guest(
        identity: [UInt8](repeating: 9, count: 16), resumption: [UInt8](repeating: 7, count: 32))
    ]
    try StateDirectory.write(saved.text, to: path)
    let address = try await freeAddress()
    let heard = Heard()
    let memory = try #require(ExportMemory(at: path, patience: 0))
    let host = HostedRoom(HostedRoom.Configuration(memory: memory), server: address) { heard.note($0) }
    let running = Task { try? await host.run() }
    #expect(await comesTrue { heard.lines.withLock { $0 } == ["awaited"] })
    try await Task.sleep(for: .seconds(2))
    // Said once, and its guest's room is wanted, too.
    #expect(heard.lines.withLock { $0 } == ["awaited"])
    let server = try await startServer(port: address.port)
    #expect(await comesTrue { heard.lines.withLock { $0 } == ["awaited", code.text] })
    running.cancel()
    await host.stop()
    await running.value
    await server.shutdown()
    #expect(heard.lines.withLock { $0 } == ["awaited", code.text])
    #expect(StateDirectory.read(path).flatMap(SavedExport.init(parsing:))?.guests == saved.guests)
  }

  @Test func `it is ended while it waits without a word`() async throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    var saved = SavedExport(code: Code.random().text, token: RoomToken.random().bytes)
    saved.guests = [
      SavedExport.Guest(
        identity: [UInt8](repeating: 9, count: 16), resumption: [UInt8](repeating: 7, count: 32))
    ]
    try StateDirectory.write(saved.text, to: path)
    // Somebody takes the connection and says nothing.
    let silent = try SilentServer()
    let heard = Heard()
    let memory = try #require(ExportMemory(at: path, patience: 0))
    let host = HostedRoom(HostedRoom.Configuration(memory: memory), server: silent.address) { heard.note($0) }
    let running = Task { try await host.run() }
    try await Task.sleep(for: .milliseconds(300))
    running.cancel()
    try await running.value
    await host.stop()
    #expect(heard.lines.withLock { $0 }.isEmpty)
  }

  @Test func `without guests it fails at once`() async throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    try StateDirectory.write(SavedExport(code: Code.random().text, token: [1]).text, to: path)
    let heard = Heard()
    for memory in [nil, ExportMemory(at: path, patience: 0)] {
      let host = HostedRoom(HostedRoom.Configuration(memory: memory), server: try await freeAddress()) {
        heard.note($0)
      }
      let began = Instant.now
      await #expect(throws: SignalingError.self) { try await host.run() }
      #expect(Instant.now.seconds(since: began) < 8)
      await host.stop()
    }
    #expect(heard.lines.withLock { $0 }.isEmpty)
  }

  @Test func `the port where guests look is kept, whichever was free this time`() async throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    func kept(_ guests: [SavedExport.Guest], port: Int?, now: Int) async throws -> Int? {
      var saved = SavedExport(code: Code.random().text, token: [1])
      (saved.guests, saved.port) = (guests, port)
      try StateDirectory.write(saved.text, to: path)
      let memory = try #require(ExportMemory(at: path, patience: 0))
      let host = HostedRoom(HostedRoom.Configuration(memory: memory), server: try await freeAddress()) { _ in }
      await host.remember(port: now)
      return await host.saved.port
    }
    let guest = SavedExport.Guest(
      identity: [UInt8](repeating: 9, count: 16), resumption: [UInt8](repeating: 7, count: 32))
    #expect(try await kept([], port: 12_000, now: 12_001) == 12_001)
    #expect(try await kept([], port: nil, now: 12_001) == 12_001)
    #expect(try await kept([guest], port: nil, now: 12_001) == 12_001)
    #expect(try await kept([guest], port: 12_000, now: 12_001) == 12_000)
  }
}

/// Listens on loopback, and never answers.
private final class SilentServer {
  let address: ServerAddress
  private let descriptor: CInt

  init() throws {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isListening = withUnsafeMutablePointer(to: &name) { name in
      name.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
        bind(number, name, length) == 0 && listen(number, 8) == 0 && getsockname(number, name, &length) == 0
      }
    }
    descriptor = number
    address = ServerAddress(scheme: .ws, host: "127.0.0.1", port: UInt16(bigEndian: name.sin_port))
    try #require(isListening)
  }

  deinit { close(descriptor) }
}

import P2PFSCore
import P2PFSExport
import Glibc
import P2PFSPairing
import Rig
import P2PFSSession
import P2PFSSignaling
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFS
@testable import P2PFSMeeting

/// Files that are read without a mount while the exporter's program is started again.
@Suite(.timeLimit(.minutes(1))) struct ReadingRestartTests {
  private let identity = [UInt8](repeating: 1, count: 16)

  /// Reads the beginning of a file, has the exporter start again, and reads on.
  private func read(
    _ contents: [UInt8], _ meanwhile: (FilePath) throws -> Void
  ) async throws -> Result<[UInt8], any Error> {
    let (exported, place) = (try TemporaryDirectory(), try TemporaryDirectory())
    let path = exported.path.appending("file")
    let file = try FileDescriptor.open(path, .writeOnly, options: .create, permissions: .ownerReadWrite)
    try file.closeAfter { _ = try file.writeAll(contents) }
    let share = try Share(exported.path, readOnly: true)
    defer { share.stop() }
    let journal = place.path.appending("journal").string
    let asker = Session(.init(identity: identity))
    let links = Mutex<[MemoryLink]>([])
    func start() async -> Session {
      let session = Session(.init(identity: identity), responder: share.session(identity, journal: journal))
      let (one, other) = MemoryLink.pair()
      links.withLock { $0 += [one, other] }
      asker.connect(one)
      session.connect(other)
      #expect(await comesTrue { asker.isOnline && session.isOnline })
      return session
    }
    let first = await start()
    var chunks = PeerFiles(asker).read("file").makeAsyncIterator()
    var all = Array(try #require(try await chunks.next()))
    first.suspend()
    #expect(await comesTrue { !asker.isOnline })
    try meanwhile(path)
    let second = await start()
    defer {
      asker.end()
      second.end()
    }
    do {
      while let chunk = try await chunks.next() { all += chunk }
      return .success(all)
    } catch {
      return .failure(error)
    }
  }

  @Test func `a file is read on where the reader was`() async throws {
    let contents = pattern(20_000_003)
    let outcome = try await read(contents) { _ in }
    #expect(try outcome.get() == contents)
  }

  @Test func `another file of the same name is not taken for it`() async throws {
    let outcome = try await read(pattern(20_000_003)) { path in
      let moved = path.removingLastComponent().appending("moved")
      #expect(rename(path.string, moved.string) == 0)
      let file = try FileDescriptor.open(path, .writeOnly, options: .create, permissions: .ownerReadWrite)
      try file.closeAfter { _ = try file.writeAll(pattern(20_000_003, seed: 2)) }
    }
    let error = #expect(throws: PeerError.self) { _ = try outcome.get() }
    #expect(error?.errno == ESTALE)
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

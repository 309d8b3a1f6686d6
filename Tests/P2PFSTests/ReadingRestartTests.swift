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

import Glibc
import P2PFS
import Rig
import Synchronization
import SystemPackage
import Testing

/// Files of a peer, read without a mount, over loopback.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct PeerFilesTests {
  private let place: TemporaryDirectory

  init() throws {
    place = try TemporaryDirectory()
    mkdir(place.path.appending("photos").string, 0o750)
  }

  private func write(_ name: String, _ bytes: [UInt8]) throws {
    let file = try FileDescriptor.open(
      place.path.appending(name), .writeOnly, options: [.create, .truncate],
      permissions: FilePermissions(rawValue: 0o640))
    try file.closeAfter { _ = try file.writeAll(bytes) }
  }

  private func read(_ contents: PeerFiles.Contents) async throws -> [UInt8] {
    try await contents.reduce(into: [UInt8]()) { $0 += $1 }
  }

  @Test func `directories are listed, with what is known of each entry`() async throws {
    try write("photos/lake.jpg", pattern(1_234))
    symlink("/etc/passwd", place.path.appending("photos/link").string)
    mkfifo(place.path.appending("photos/pipe").string, 0o600)
    for number in 0..<1_500 { try write("photos/\(number)", []) }
    try await Loopback.pair(share: .readOnly(place.path.string)) { guest, host in
      #expect(host.sharesFiles && !guest.sharesFiles)
      let root = try await host.files.list()
      #expect(root.map(\.name) == ["photos"] && root[0].attributes?.kind == .directory)
      #expect(root[0].attributes?.permissions == 0o750)
      let entries = try await host.files.list("photos")
      #expect(entries.count == 1_503 && Set(entries.map(\.name)).count == 1_503)
      let lake = try #require(entries.first { $0.name == "lake.jpg" })
      #expect(lake.path == "photos/lake.jpg")
      #expect(lake.attributes?.kind == .file && lake.attributes?.size == 1_234 && lake.attributes?.permissions == 0o640)
      #expect((lake.attributes?.modifiedSince1970 ?? .zero) > .seconds(1_700_000_000))
      #expect(entries.first { $0.name == "link" }?.attributes?.kind == .symbolicLink)
      #expect(entries.first { $0.name == "pipe" }?.attributes?.kind == .other)
      #expect(try await host.files.list("/photos/").count == 1_503)
      #expect(try await host.files.list(root[0]).count == 1_503)
      #expect(try await host.files.attributes(of: "photos/lake.jpg") == lake.attributes)
      #expect(try await read(host.files.read(lake)) == pattern(1_234))
    }
  }

  @Test func `a file comes whole, or the part that was asked for`() async throws {
    let contents = pattern(1_000_003)
    try write("big", contents)
    try write("empty", [])
    try write("even", Array(contents[..<524_288]))
    try await Loopback.pair(share: .readOnly(place.path.string)) { _, host in
      #expect(try await read(host.files.read("big")) == contents)
      #expect(try await read(host.files.read("even")) == Array(contents[..<524_288]))
      #expect(try await read(host.files.read("empty")).isEmpty)
      for range in [0..<1, 999_999..<1_000_003, 262_143..<524_289, 5..<5, 32_768..<65_536] as [Range<Int64>] {
        let part = Array(contents[Int(range.lowerBound)..<Int(range.upperBound)])
        #expect(try await read(host.files.read("big", in: range)) == part)
      }
      #expect(try await read(host.files.read("big", in: 1_000_000..<Int64.max)) == Array(contents[1_000_000...]))
      #expect(try await read(host.files.read("big", in: 2_000_000..<2_000_001)).isEmpty)
      // The same sequence reads it anew.
      let twice = host.files.read("big", in: 0..<100)
      let (once, again) = (try await read(twice), try await read(twice))
      #expect(once == again && once.count == 100)
    }
  }

  @Test func `a file whose length is not told, as in proc, comes whole too`() async throws {
    try await Loopback.pair(share: .readOnly("/proc/self")) { _, host in
      let status = try await read(host.files.read("status"))
      #expect(String(decoding: status, as: UTF8.self).hasPrefix("Name:"))
      #expect(try await host.files.attributes(of: "status").size == 0)
    }
  }

  @Test func `reads go on side by side, and one that is left in the middle is closed`() async throws {
    let contents = pattern(2_000_000)
    try write("big", contents)
    try await Loopback.pair(share: .readOnly(place.path.string)) { _, host in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<3 {
          group.addTask {
            let all = try await self.read(host.files.read("big"))
            #expect(all == contents)
          }
        }
        for _ in 0..<3 {
          group.addTask {
            let chunk = try await host.files.read("big").first { _ in true }
            #expect(chunk?.isEmpty == false)
          }
        }
        let slow = Task { for try await _ in host.files.read("big") { try await Task.sleep(for: .seconds(60)) } }
        try await group.waitForAll()
        slow.cancel()
        _ = try? await slow.value
      }
      // Nobody has it open any more.
      #expect(
        await comesTrue {
          let files = (0..<1_024).map { descriptor in
            var buffer = [CChar](repeating: 0, count: 4_096)
            let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
            return String(decoding: buffer[..<Swift.max(count, 0)].map(UInt8.init(bitPattern:)), as: UTF8.self)
          }
          return !files.contains(self.place.path.appending("big").string)
        })
    }
  }

  @Test func `what cannot be read says why`() async throws {
    try write("file", [1])
    symlink("file", place.path.appending("link").string)
    try await Loopback.pair(share: .readOnly(place.path.string)) { guest, host in
      let files = host.files
      for (path, error) in [
        ("nothing", ENOENT), ("file/x", ENOTDIR), ("../x", EINVAL), ("a//b", EINVAL), ("photos", EISDIR),
        ("link", ELOOP),
      ] {
        let failure = await expect(.file) { _ = try await self.read(files.read(path)) }
        #expect(failure?.errno == error, "\(path): \(String(describing: failure))")
        #expect(failure?.message.hasPrefix("\(path): ") == true)
      }
      let noDirectory = await expect(.file) { _ = try await files.list("file") }
      #expect(noDirectory?.errno == ENOTDIR)
      let missing = await expect(.file) { _ = try await files.attributes(of: "nothing") }
      #expect(missing?.errno == ENOENT)
      await expect(.notShared) { _ = try await guest.files.list() }
      await expect(.notShared) { _ = try await self.read(guest.files.read("file")) }
    }
  }

  @Test func `a guest shares too, and names that are no text are read by their entries`() async throws {
    var name = Array(place.path.string.utf8CString.dropLast()) + [47, CChar(bitPattern: 0xFF), 65, 0]
    let descriptor = creat(&name, 0o600)
    try #require(descriptor >= 0)
    _ = Glibc.write(descriptor, [UInt8](repeating: 7, count: 3), 3)
    Glibc.close(descriptor)
    try await Loopback.pair(guestShares: .readWrite(place.path.string)) { guest, _ in
      #expect(await comesTrue { guest.sharesFiles })
      let entry = try #require(try await guest.files.list().first { $0.attributes?.kind == .file })
      #expect(entry.name == "\u{FFFD}A")
      #expect(try await read(guest.files.read(entry)) == [7, 7, 7])
      #expect(try await guest.files.attributes(of: entry).size == 3)
    }
  }

  @Test func `what is read after the peer was closed on this side says so`() async throws {
    try write("file", [1])
    try await Loopback.pair(share: .readOnly(place.path.string)) { _, host in
      let files = host.files
      let before = try await self.read(files.read("file"))
      #expect(before == [1])
      await host.close()
      await expect(.closed) { _ = try await files.list() }
      await expect(.closed) { _ = try await files.attributes(of: "file") }
      await expect(.closed) { _ = try await self.read(files.read("file")) }
    }
  }
}

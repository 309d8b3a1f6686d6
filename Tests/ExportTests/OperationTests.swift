import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// An exported temporary directory and a peer.
struct Exported {
  let directory: TemporaryDirectory
  let share: Share
  let peer: Peer

  init(readOnly: Bool = false, oneFileSystem: Bool = false, walking: Bool = false) throws {
    directory = try TemporaryDirectory()
    share = Share(
      try ConfinedDirectory(directory.path, oneFileSystem: oneFileSystem, walking: walking), readOnly: readOnly)
    peer = Peer(share)
  }

  func local(_ name: String) -> FilePath { directory.path.appending(name) }
}

/// Each operation, done and refused; `walking` without openat2.
@Suite(.onThreads) struct OperationTests {
  @Test(arguments: [false, true]) func `a file is created, written, read, looked up and closed`(walking: Bool) throws {
    let e = try Exported(walking: walking)
    let file = try path("f")
    let handle = try e.peer.create(file, mode: 0o640)
    try e.peer.write(handle, "hello")
    try e.peer.write(handle, "p!", at: 3)
    #expect(try e.peer.read(handle) == Array("help!".utf8))
    #expect(try e.peer.read(handle, at: 1, count: 2) == Array("el".utf8))
    #expect(try e.peer.read(handle, at: 5, count: 10) == [])
    #expect(try e.peer.read(handle, at: 5_000, count: 0) == [])
    let attributes = try e.peer.done(.lookup(.path(file))).attributes()
    #expect(attributes.size == 5)
    #expect(attributes.mode == 0o100640)
    #expect(try e.peer.done(.lookup(.handle(handle))).attributes().identity == attributes.identity)
    try e.peer.done(.fsync(handle, dataOnly: false))
    try e.peer.done(.fsync(handle, dataOnly: true))
    try e.peer.done(.close(handle))
    #expect(try e.peer.error(.close(handle)) == .badFileDescriptor)
    #expect(contents(e.local("f")) == Array("help!".utf8))
  }

  @Test func `a file that was changed a moment ago may be changed without another version`() throws {
    let e = try Exported()
    let file = try path("f")
    for _ in 0..<20 {
      try place("x", at: e.local("f"))
      // Unless this thread did not run for longer.
      if try e.peer.done(.lookup(.path(file))).attributes().isRacy { break }
    }
    #expect(try e.peer.done(.lookup(.path(.root))).attributes().isRacy == false)
    usleep(30_000)
    let later = try e.peer.done(.lookup(.path(file))).attributes()
    #expect(!later.isRacy)

    let times = (Timestamp(seconds: 100, nanoseconds: 0), Timestamp(seconds: 100, nanoseconds: 500_000_000))
    let (coarse, fine) = (
      Attributes.Version(size: 1, modified: times.0, changed: times.0),
      Attributes.Version(size: 1, modified: times.0, changed: times.1)
    )
    #expect(coarse.isRacy(at: Timestamp(seconds: 101, nanoseconds: 999_999_999)))
    #expect(!coarse.isRacy(at: Timestamp(seconds: 102, nanoseconds: 100_000_000)))
    #expect(fine.isRacy(at: Timestamp(seconds: 100, nanoseconds: 509_000_000)))
    #expect(!fine.isRacy(at: Timestamp(seconds: 100, nanoseconds: 511_000_000)))
    // The clock was set back; a program has set a time in the future.
    #expect(fine.isRacy(at: Timestamp(seconds: 3, nanoseconds: 0)))
    let future = Attributes.Version(size: 1, modified: Timestamp(seconds: .max, nanoseconds: 0), changed: times.1)
    #expect(!future.isRacy(at: Timestamp(seconds: 200, nanoseconds: 0)))
  }

  @Test func `modes do not depend on the umask`() throws {
    let old = umask(0o077)
    defer { umask(old) }
    let e = try Exported()
    #expect(try e.peer.done(.mkdir(path("d"), mode: 0o777)).attributes().mode == 0o040777)
    #expect(try e.peer.done(.mknod(path("n"), mode: 0o100666)).attributes().mode == 0o100666)
    _ = try e.peer.create(path("f"), mode: 0o666)
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().mode == 0o100666)
    #expect(umask(0o077) == 0o077)
  }

  @Test func `an opening brings the contents with it`() throws {
    let e = try Exported()
    let text = String(repeating: "0123456789abcdef", count: 5_000)
    try place(text, at: e.local("f"))
    let handle = e.peer.newHandle()
    let answer = try e.peer.done(.open(handle, path("f"), .read, prefetch: 1 << 20))
    #expect(try answer.attributes().size == 80_000)
    #expect(try answer.contents(skipping: 1) == Array(text.utf8))
    #expect(answer.replies.map(\.lane) == [.bulk, .bulk, .bulk, .bulk])
    let short = try e.peer.done(.open(e.peer.newHandle(), path("f"), .read, prefetch: 10))
    #expect(try short.contents(skipping: 1) == Array("0123456789".utf8))
    try place("", at: e.local("empty"))
    let empty = try e.peer.done(.open(e.peer.newHandle(), path("empty"), .read, prefetch: 10))
    #expect(empty.replies.count == 2)
    #expect(try empty.contents(skipping: 1) == [])
    let directory = try e.peer.done(.open(e.peer.newHandle(), .root, .read, prefetch: 10))
    #expect(directory.replies.count == 1)
    #expect(directory.replies[0].lane == .control)
  }

  @Test func `a large read comes in pieces that tile it`() throws {
    let e = try Exported()
    try place(String(repeating: "x", count: 100_000), at: e.local("f"))
    let handle = try e.peer.open(path("f"))
    let answer = try e.peer.done(.read(handle, offset: 10, count: 70_000))
    let pieces = try answer.replies.map { try $0.reply.piece() }
    #expect(pieces.map(\.offset) == [10, 32_778, 65_546])
    #expect(pieces.map(\.data.count) == [32_768, 32_768, 4_464])
    #expect(answer.replies.allSatisfy { $0.lane == .bulk })
  }

  @Test func `names are made, moved, exchanged and removed`() throws {
    let e = try Exported()
    try e.peer.done(.mkdir(path("d"), mode: 0o755))
    #expect(try e.peer.error(.mkdir(path("d"), mode: 0o755)) == .fileExists)
    #expect(try e.peer.error(.mkdir(path("no/d"), mode: 0o755)) == .noSuchFileOrDirectory)
    try place("a", at: e.local("d/a"))
    try place("b", at: e.local("b"))
    #expect(try e.peer.error(.rename(path("b"), to: path("d/a"), .noReplace)) == .fileExists)
    try e.peer.done(.rename(path("b"), to: path("d/a"), .exchange))
    #expect(contents(e.local("b")) == Array("a".utf8))
    try e.peer.done(.rename(path("b"), to: path("d/a"), .replace))
    #expect(contents(e.local("d/a")) == Array("a".utf8))
    #expect(try e.peer.error(.rename(path("b"), to: path("c"), .replace)) == .noSuchFileOrDirectory)
    #expect(try e.peer.error(.rename(path("d"), to: path("d/x"), .replace)) == .invalidArgument)
    #expect(try e.peer.error(.rmdir(path("d"))) == .directoryNotEmpty)
    #expect(try e.peer.error(.unlink(path("d"))) == .isDirectory)
    #expect(try e.peer.error(.rmdir(path("d/a"))) == .notDirectory)
    try e.peer.done(.unlink(path("d/a")))
    try e.peer.done(.rmdir(path("d")))
    #expect(try e.peer.error(.lookup(.path(path("d")))) == .noSuchFileOrDirectory)
  }

  @Test func `links are made and read, but never followed`() throws {
    let e = try Exported()
    try place("a", at: e.local("a"))
    let link = try e.peer.done(.symlink(path("s"), target: Array("../outside".utf8))).attributes()
    #expect(link.type == .symbolicLink)
    let target = try e.peer.done(.readlink(path("s")))
    withExtendedLifetime(target) { #expect(Array(target.replies[0].reply.body.bytes) == Array("../outside".utf8)) }
    #expect(try e.peer.error(.readlink(path("a"))) == .invalidArgument)
    #expect(try e.peer.done(.link(existing: .path(path("a")), path("b"))).attributes().links == 2)
    #expect(try e.peer.done(.link(existing: .path(path("s")), path("t"))).attributes().type == .symbolicLink)
    #expect(try e.peer.error(.link(existing: .path(path("a")), path("b"))) == .fileExists)
    let handle = try e.peer.open(path("a"))
    #expect(try e.peer.done(.link(existing: .handle(handle), path("c"))).attributes().links == 3)
    for name in ["a", "b", "c"] { try e.peer.done(.unlink(path(name))) }
    #expect(try e.peer.error(.link(existing: .handle(handle), path("d"))) == .noSuchFileOrDirectory)
  }

  @Test func `an unlinked file lives by its handle`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"))
    try e.peer.done(.unlink(path("f")))
    try e.peer.write(handle, "still here")
    let changes = AttributeChanges(
      mode: 0o600, size: 5, modified: .set(Timestamp(seconds: 1, nanoseconds: 999_999_999)))
    let attributes = try e.peer.done(.setattr(.handle(handle), changes)).attributes()
    #expect(attributes.size == 5)
    #expect(attributes.mode == 0o100600)
    #expect(attributes.links == 0)
    #expect(attributes.modified == Timestamp(seconds: 1, nanoseconds: 999_999_999))
    #expect(try e.peer.read(handle) == Array("still".utf8))
  }

  @Test func `attributes are changed by path`() throws {
    let e = try Exported()
    try place("hello", at: e.local("f"))
    let before = Timestamp(seconds: -5, nanoseconds: 7)
    let changes = AttributeChanges(mode: 0o1444, size: 2, accessed: .now, modified: .set(before))
    let attributes = try e.peer.done(.setattr(.path(path("f")), changes)).attributes()
    #expect(attributes.mode == 0o101444)
    #expect(attributes.size == 2)
    #expect(attributes.modified == before)
    #expect(attributes.accessed.seconds > 1_000_000_000)
    let only = try e.peer.done(
      .setattr(.path(path("f")), AttributeChanges(accessed: .set(before)))
    ).attributes()
    #expect(only.accessed == before && only.modified == before)
    #expect(try e.peer.error(.setattr(.path(.root), AttributeChanges(size: 1))) == .isDirectory)
    #expect(try e.peer.error(.setattr(.path(path("no")), AttributeChanges(mode: 0))) == .noSuchFileOrDirectory)
    try e.peer.done(.symlink(path("s"), target: Array("f".utf8)))
    #expect(try e.peer.error(.setattr(.path(path("s")), AttributeChanges(mode: 0o600))) == .notSupported)
    #expect(try e.peer.error(.setattr(.path(path("s")), AttributeChanges(size: 0))) == .invalidArgument)
    let link = try e.peer.done(.setattr(.path(path("s")), AttributeChanges(modified: .set(before)))).attributes()
    #expect(link.type == .symbolicLink && link.modified == before)
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().size == 2)
  }

  @Test func `the setgid bit of a directory survives a chmod`() throws {
    let e = try Exported()
    try e.peer.done(.mkdir(path("d"), mode: 0o755))
    #expect(chmod(e.local("d").string, 0o2755) == 0)
    let attributes = try e.peer.done(.setattr(.path(path("d")), AttributeChanges(mode: 0o700))).attributes()
    #expect(attributes.mode == 0o042700)
  }

  @Test func `requests of one handle keep their order, from before it is open`() throws {
    let e = try Exported()
    for round in 0..<50 {
      let handle = e.peer.newHandle()
      let file = try path("f\(round)")
      let all = [
        e.peer.begin(.create(handle, file, [.read, .write], mode: 0o644)),
        e.peer.begin(.write(handle, offset: 0, slice(Array("one".utf8)))),
        e.peer.begin(.write(handle, offset: 0, slice(Array("two".utf8)))),
        e.peer.begin(.setattr(.handle(handle), AttributeChanges(size: 2))),
        e.peer.begin(.read(handle, offset: 0, count: 10)),
        e.peer.begin(.close(handle)),
      ]
      let answers = all.compactMap { e.peer.wait($0) }
      #expect(answers.count == 6)
      #expect(answers.allSatisfy { $0.error == nil })
      #expect(try answers[4].contents() == Array("tw".utf8))
    }
  }

  @Test func `holes are found and made`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"))
    try e.peer.write(handle, "x", at: 1 << 20)
    #expect(try e.peer.done(.seek(handle, offset: 0, .data)).replies[0].reply.offset() == 1 << 20)
    #expect(try e.peer.done(.seek(handle, offset: 0, .hole)).replies[0].reply.offset() == 0)
    #expect(try e.peer.error(.seek(handle, offset: 1 << 30, .data)) == .noSuchAddressOrDevice)
    try e.peer.done(.allocate(handle, offset: 0, count: 4_096, mode: 0))
    try e.peer.done(.allocate(handle, offset: 2 << 20, count: 4_096, mode: 1))
    try e.peer.done(.allocate(handle, offset: 0, count: 2 << 20, mode: 3))
    #expect(try e.peer.done(.lookup(.handle(handle))).attributes().size == (1 << 20) + 1)
    #expect(try e.peer.read(handle, at: 1 << 20) == [0])
    for mode: UInt32 in [4, 8, 32, 64, 0x8000_0000] {
      #expect(try e.peer.error(.allocate(handle, offset: 0, count: 1, mode: mode)) == .notSupported)
    }
    #expect(try e.peer.error(.allocate(handle, offset: 0, count: 0, mode: 0)) == .invalidArgument)
  }

  @Test func `statistics are those of the filesystem`() throws {
    let e = try Exported()
    var here = statvfs()
    #expect(statvfs(e.directory.path.string, &here) == 0)
    let statistics = try e.peer.done(.statfs(.root)).replies[0].reply.statistics()
    #expect(statistics.blocks == UInt64(here.f_blocks))
    #expect(statistics.blockSize == UInt64(here.f_bsize))
    #expect(statistics.nameLength == 255)
    #expect(try e.peer.error(.statfs(path("no"))) == .noSuchFileOrDirectory)
  }

  @Test func `openings that cannot be are refused`() throws {
    let e = try Exported()
    try place("x", at: e.local("f"))
    try e.peer.done(.mkdir(path("d"), mode: 0o755))
    func error(_ name: String, _ options: OpenOptions) throws -> Errno? {
      try e.peer.error(.open(e.peer.newHandle(), path(name), options, prefetch: 0))
    }
    #expect(try error("no", .read) == .noSuchFileOrDirectory)
    #expect(try error("d", [.read, .write]) == .isDirectory)
    #expect(try error("f", []) == .invalidArgument)
    #expect(try error("f/x", .read) == .notDirectory)
    let exclusive = Request.create(e.peer.newHandle(), try path("f"), [.write, .exclusive], mode: 0o600)
    #expect(try e.peer.error(exclusive) == .fileExists)
    #expect(try e.peer.error(.create(e.peer.newHandle(), path("d"), .write, mode: 0o600)) == .isDirectory)
    #expect(try e.peer.error(.create(e.peer.newHandle(), .root, .write, mode: 0o600)) == .isDirectory)
    let handle = try e.peer.open(path("f"))
    #expect(try e.peer.error(.write(handle, offset: 0, slice([1]))) == .badFileDescriptor)
    #expect(try e.peer.error(.write(handle, offset: 0, slice([]))) == .badFileDescriptor)
    let directory = try e.peer.open(path("d"))
    #expect(try e.peer.ask(.read(directory, offset: 0, count: 1)).error == .isDirectory)
    try e.peer.done(.fsync(directory, dataOnly: false))
    let truncated = try e.peer.open(path("f"), [.write, .truncate])
    #expect(try e.peer.done(.lookup(.handle(truncated))).attributes().size == 0)
    let existing = try e.peer.create(path("f"), [.write])
    #expect(existing != truncated)
  }

  @Test func `the root has no name to be changed`() throws {
    let e = try Exported()
    #expect(try e.peer.error(.mkdir(.root, mode: 0o755)) == .fileExists)
    #expect(try e.peer.error(.symlink(.root, target: [65])) == .fileExists)
    #expect(try e.peer.error(.rmdir(.root)) == .resourceBusy)
    #expect(try e.peer.error(.unlink(.root)) == .isDirectory)
    #expect(try e.peer.error(.rename(.root, to: path("x"), .replace)) == .resourceBusy)
    #expect(try e.peer.done(.lookup(.path(.root))).attributes().type == .directory)
  }

  @Test func `after the end of a session its requests fail and its files are closed`() throws {
    let e = try Exported()
    let other = Peer(e.share)
    for number in 0..<10 { _ = try e.peer.create(path("f\(number)")) }
    e.peer.responder.end()
    #expect(try e.peer.error(.lookup(.path(.root))) == .ioError)
    #expect(try other.error(.lookup(.path(.root))) == nil)
    e.share.stop()
    #expect(try other.error(.lookup(.path(.root))) == .ioError)
  }
}

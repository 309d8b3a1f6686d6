import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// A filesystem mounted for one test.
final class Mounted {
  private let target: String
  private var fuse: CInt = -1

  /// Mounts a filesystem of `type`.
  init(_ type: String, at target: FilePath, flags: UInt = 0, options: String) throws {
    self.target = target.string
    guard mount(type, self.target, type, flags, options) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Mounts a FUSE filesystem whose daemon never answers anything.
  init(silent type: String, source: String, at target: FilePath) throws {
    self.target = target.string
    fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    let options = "fd=\(fuse),rootmode=40000,user_id=0,group_id=0"
    guard fuse >= 0, mount(source, self.target, type, 0, options) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Mounts the same once more, read-only.
  func remountReadOnly() throws {
    guard mount("none", target, nil, UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  deinit {
    // Whoever waits for the daemon is told that it is gone.
    if fuse >= 0 { close(fuse) }
    umount2(target, CInt(MNT_DETACH))
  }
}

/// What is mounted inside an export. Fails without root, which mount(2) needs.
@Suite(.onThreads) struct MountedInsideTests {
  /// Any request to the mounted filesystem would wait for ever: that all is answered shows that there was none.
  @Test(
    arguments: [false, true],
    [("fuse.p2pfs", "p2pfs"), ("fuse.p2pfs", "photos"), ("fuse", "p2pfs")])
  func `a p2pfs mount is an empty directory that nobody enters`(walking: Bool, kind: (String, String)) throws {
    let e = try Exported(walking: walking)
    #expect(mkdir(e.local("m").string, 0o755) == 0)
    try place("x", at: e.local("f"))
    let mounted = try Mounted(silent: kind.0, source: kind.1, at: e.local("m"))
    defer { withExtendedLifetime(mounted) {} }
    let m = try path("m")
    let entries = try e.peer.list(.root)
    #expect(Set(entries.map { String(decoding: $0.name, as: UTF8.self) }) == ["m", "f"])
    #expect(entries.first { $0.name == Array("m".utf8) }?.attributes?.mode == 0o040555)
    #expect(try e.peer.done(.lookup(.path(m))).attributes().mode == 0o040555)
    #expect(try e.peer.list(m).isEmpty)
    for frame in Forged.frames(path: Array("m/inside".utf8), good: Array("f".utf8), handle: 1_000) {
      #expect(try #require(e.peer.wait(e.peer.begin(frame))).error == .notPermitted)
    }
    #expect(try e.peer.error(.statfs(m)) == .notPermitted)
    #expect(try e.peer.error(.open(e.peer.newHandle(), m, .read, prefetch: 0)) == .notPermitted)
    #expect(try e.peer.error(.setattr(.path(m), AttributeChanges(mode: 0o700))) == .notPermitted)
    #expect(try e.peer.error(.link(existing: .path(m), path("l"))) == .notPermitted)
    #expect(try e.peer.error(.rmdir(m)) == .resourceBusy)
    #expect(try e.peer.error(.rename(m, to: path("n"), .replace)) == .resourceBusy)
    #expect(try e.peer.error(.rename(path("f"), to: m, .exchange)) == .resourceBusy)
    #expect(try e.peer.error(.mkdir(m, mode: 0o755)) == .fileExists)
    #expect(throws: Errno.notPermitted) { try ConfinedDirectory(e.local("m")) }
  }

  @Test func `other filesystems mounted inside are served, or not if that is wished`() throws {
    let e = try Exported()
    #expect(mkdir(e.local("m").string, 0o755) == 0)
    let mounted = try Mounted("tmpfs", at: e.local("m"), options: "size=1m")
    defer { withExtendedLifetime(mounted) {} }
    try place("x", at: e.local("m/f"))
    let handle = try e.peer.open(path("m/f"))
    #expect(try e.peer.read(handle) == Array("x".utf8))
    #expect(try e.peer.done(.statfs(path("m"))).replies[0].reply.statistics().blocks == 256)
    #expect(try e.peer.done(.statfs(path("m/f"))).replies[0].reply.statistics().blocks == 256)
    #expect(try e.peer.list(path("m")).map(\.name) == [Array("f".utf8)])
    #expect(try e.peer.error(.rename(path("m/f"), to: path("f"), .replace)) == .improperLink)
    let share = Share(try ConfinedDirectory(e.directory.path, oneFileSystem: true), readOnly: false)
    let other = Peer(share)
    #expect(try other.list(path("m")).isEmpty)
    #expect(try other.list(.root).first?.attributes?.mode == 0o040555)
    #expect(try other.error(.lookup(.path(path("m/f")))) == .notPermitted)
  }

  @Test func `one hung filesystem does not stop the share`() throws {
    let e = try Exported()
    #expect(mkdir(e.local("m").string, 0o755) == 0)
    try place("x", at: e.local("f"))
    let other = Peer(e.share)
    do {
      let mounted = try Mounted(silent: "fuse.other", source: "other", at: e.local("m"))
      defer { withExtendedLifetime(mounted) {} }
      let stuck = (0..<20).map { _ in e.peer.begin(.lookup(.path(Path.root))) }
      for request in stuck { #expect(e.peer.wait(request)?.error == nil) }
      let hung = try (0..<20).map { e.peer.begin(.lookup(.path(try path("m/x\($0)")))) }
      let handle = try other.open(path("f"))
      #expect(try other.read(handle) == Array("x".utf8))
      // A further guest whose requests hang, fewer than all it may have: it is served itself, too.
      let third = Peer(e.share)
      let few = try (0..<8).map { third.begin(.lookup(.path(try path("m/y\($0)")))) }
      let start = Instant.now
      for peer in [third, other] {
        for _ in 0..<20 { #expect(try peer.error(.lookup(.path(path("f")))) == nil) }
      }
      #expect(Instant.now.seconds(since: start) < 3)
      #expect(hung.allSatisfy { !e.peer.isAnswered($0) } && few.allSatisfy { !third.isAnswered($0) })
    }
    // The mount is gone, and with it what hung.
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().size == 1)
  }

  @Test func `a full disk, a full table of inodes and a read-only filesystem come through as themselves`() throws {
    let e = try Exported()
    #expect(mkdir(e.local("m").string, 0o755) == 0)
    let mounted = try Mounted("tmpfs", at: e.local("m"), options: "size=1m,nr_inodes=20")
    let handle = try e.peer.create(path("m/f"))
    let block = slice([UInt8](repeating: 1, count: Limits.Wire.data))
    var written = 0
    while try e.peer.error(.write(handle, offset: Int64(written), block)) == nil, written < 1 << 22 {
      written += block.count
    }
    #expect(written <= 1 << 20)
    #expect(try e.peer.error(.write(handle, offset: Int64(written), block)) == .noSpace)
    // Appends that were sent before the failure was known do not overtake it.
    let append = try e.peer.open(path("m/f"), [.write, .append])
    let requests = (0..<20).map { _ in e.peer.begin(.append(append, more: false, block)) }
    for request in requests { #expect(e.peer.wait(request)?.error == .noSpace) }
    try e.peer.done(.setattr(.handle(handle), AttributeChanges(size: 0)))
    try e.peer.done(.append(append, more: false, slice(Array("fits again".utf8))))
    var error: Errno?
    for number in 0..<30 where error == nil { error = try e.peer.error(.mkdir(path("m/d\(number)"), mode: 0o755)) }
    #expect(error == .noSpace)
    try e.peer.done(.close(handle))
    try e.peer.done(.close(append))
    try mounted.remountReadOnly()
    #expect(try e.peer.error(.unlink(path("m/f"))) == .readOnlyFileSystem)
    #expect(try e.peer.error(.create(e.peer.newHandle(), path("m/g"), .write, mode: 0o644)) == .readOnlyFileSystem)
    #expect(try e.peer.error(.open(e.peer.newHandle(), path("m/f"), .write, prefetch: 0)) == .readOnlyFileSystem)
    #expect(try e.peer.error(.setattr(.path(path("m/f")), AttributeChanges(mode: 0))) == .readOnlyFileSystem)
  }

  @Test func `Landlock keeps a worker inside even if everything else fails`() throws {
    guard p2pfs_landlock_version() >= 2 else { return }
    let canary = try Canary()
    let inside = try TemporaryDirectory()
    let (root, outside) = (try ConfinedDirectory(inside.path), canary.path.string)
    let within = inside.path.appending("f").string
    let seen = ThreadResult()
    try withThread {
      WorkerConfinement.enter(root: root.root.rawValue, isReadOnly: false)
      let (escaped, allowed) = (open(outside, O_RDONLY), p2pfs_openat(AT_FDCWD, within, O_RDWR | O_CREAT, 0o666))
      seen.set(escaped: escaped, error: errno, allowed: allowed)
    } during: {
    }
    #expect(seen.values.escaped < 0 && seen.values.allowed >= 0)
    close(seen.values.allowed)
    #expect(canary.isUntouched)
  }
}

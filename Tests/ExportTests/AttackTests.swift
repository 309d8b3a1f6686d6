import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// Table A of the threats: a hostile client.
@Suite struct AttackTests {
  @Test(arguments: [
    "..", ".", "/", "/etc/passwd", "a/../../x", "../x", "a//b", "a/", "/a", "a/./b", "d/..", "a\0b", "\0", "d/../..",
  ])
  func `paths that are none are refused by every operation`(text: String) throws {
    let e = try Exported()
    let canary = try Canary()
    try e.peer.done(.mkdir(path("d"), mode: 0o755))
    try place("x", at: e.local("good"))
    for frame in Forged.frames(path: Array(text.utf8), good: Array("good".utf8), handle: 1_000) {
      let answer = try #require(e.peer.wait(e.peer.begin(frame)))
      #expect(answer.error == .invalidArgument)
    }
    #expect(canary.isUntouched)
    #expect(contents(e.local("good")) == Array("x".utf8))
    #expect(try e.peer.list(.root).count == 2)
  }

  @Test(arguments: [false, true]) func `planted links lead nowhere`(walking: Bool) throws {
    let e = try Exported(walking: walking)
    let canary = try Canary()
    let targets = [
      canary.outside.path.string, canary.path.string, "/proc/self/root" + canary.outside.path.string, "/proc/self/cwd",
      "/proc/self/fd", "/", "..", "../\(canary.outside.path.lastComponent?.string ?? "")",
    ]
    for (number, target) in targets.enumerated() {
      #expect(Glibc.symlink(target, e.local("l\(number)").string) == 0)
    }
    try place("x", at: e.local("good"))
    for number in targets.indices {
      // Through the link: refused whatever it is.
      for tail in ["canary", "new", "self/root", "0"] {
        for frame in Forged.frames(path: Array("l\(number)/\(tail)".utf8), good: Array("good".utf8), handle: 1_000) {
          let answer = try #require(e.peer.wait(e.peer.begin(frame)))
          #expect(answer.error != nil)
        }
      }
      // The link itself is data: it may be looked at, renamed and removed, and not opened or truncated.
      let link = try path("l\(number)")
      #expect(try e.peer.done(.lookup(.path(link))).attributes().type == .symbolicLink)
      #expect(try e.peer.error(.open(e.peer.newHandle(), link, .read, prefetch: 9)) == .tooManySymbolicLinkLevels)
      let write = Request.open(e.peer.newHandle(), link, [.write, .truncate], prefetch: 0)
      #expect(try e.peer.error(write) == .tooManySymbolicLinkLevels)
      let create = Request.create(e.peer.newHandle(), link, [.write, .truncate], mode: 0o666)
      #expect(try e.peer.error(create) == .tooManySymbolicLinkLevels)
      #expect(try e.peer.error(.list(e.peer.newHandle(), link, cookie: 0)) == .notDirectory)
      #expect(try e.peer.error(.setattr(.path(link), AttributeChanges(size: 0))) == .invalidArgument)
      #expect(try e.peer.error(.setattr(.path(link), AttributeChanges(mode: 0o777))) == .notSupported)
      try e.peer.done(.setattr(.path(link), AttributeChanges(modified: .now)))
      try e.peer.done(.link(existing: .path(link), path("h\(number)")))
      try e.peer.done(.rename(link, to: path("m\(number)"), .replace))
      try e.peer.done(.unlink(path("m\(number)")))
    }
    #expect(canary.isUntouched)
  }

  /// A naive lstat and open escaped 125 times in as many tries.
  @Test(arguments: [false, true]) func `a directory swapped for a link never lets anybody out`(walking: Bool) throws {
    let e = try Exported(walking: walking)
    let canary = try Canary()
    #expect(mkdir(e.local("d").string, 0o755) == 0)
    try place("inside", at: e.local("d/canary"))
    #expect(Glibc.symlink(canary.outside.path.string, e.local("l").string) == 0)
    let inside = try path("d/canary")
    let stop = Atomic(false)
    let swaps = Atomic(0)
    let (from, to) = (e.local("d").string, e.local("l").string)
    try withThread {
      while !stop.load(ordering: .relaxed) {
        if p2pfs_renameat2(AT_FDCWD, from, AT_FDCWD, to, 2) == 0 { swaps.add(1, ordering: .relaxed) }
      }
    } during: {
      defer { stop.store(true, ordering: .relaxed) }
      var (found, refused) = (0, 0)
      for _ in 0..<(walking ? 50_000 : 200_000) {
        do throws(Errno) {
          let file = try e.share.directory.open(inside, .read)
          var bytes: [UInt8] = [0]
          #expect(pread(file.rawValue, &bytes, 1, 0) == 1)
          #expect(bytes == Array("i".utf8))
          found += 1
        } catch {
          refused += 1
        }
      }
      #expect(found > 0 && refused > 0)
    }
    #expect(swaps.load(ordering: .relaxed) > 100)
    #expect(canary.isUntouched)
  }

  @Test func `no request makes a hard link to what is outside`() throws {
    let e = try Exported()
    let canary = try Canary()
    #expect(Glibc.symlink(canary.path.string, e.local("l").string) == 0)
    let attributes = try e.peer.done(.link(existing: .path(path("l")), path("h"))).attributes()
    #expect(attributes.type == .symbolicLink)
    #expect(canary.isUntouched)
  }

  @Test func `FIFOs, sockets and devices are listed, and never opened`() throws {
    let e = try Exported()
    try e.peer.done(.mknod(path("fifo"), mode: 0o010644))
    #expect(try e.peer.error(.mknod(path("dev"), mode: 0o020644)) == .notPermitted)
    #expect(mknod(e.local("socket").string, S_IFSOCK | 0o644, 0) == 0)
    var names = ["fifo", "socket"]
    if geteuid() == 0, mknod(e.local("null").string, S_IFCHR | 0o666, 1 << 8 | 3) == 0 { names.append("null") }
    for name in names {
      let start = Instant.now
      for options: OpenOptions in [.read, .write, [.read, .write], [.write, .truncate]] {
        let open = Request.open(e.peer.newHandle(), try path(name), options, prefetch: 100)
        #expect(try e.peer.error(open) == .noSuchAddressOrDevice)
        let create = Request.create(e.peer.newHandle(), try path(name), options, mode: 0o644)
        #expect(try e.peer.error(create) == .noSuchAddressOrDevice)
      }
      #expect(try e.peer.error(.setattr(.path(path(name)), AttributeChanges(size: 0))) == .invalidArgument)
      // Eight openings and more: none has waited for somebody at the other end.
      #expect(Instant.now.seconds(since: start) < 10)
    }
    let listed = try e.peer.list(.root)
    #expect(Set(listed.map { String(decoding: $0.name, as: UTF8.self) }) == Set(names))
    #expect(listed.allSatisfy { $0.attributes?.type != .regular && $0.attributes != nil })
  }

  @Test func `no number traps`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"))
    let extremes: [UInt64] = [
      0, 1, UInt64(UInt32.max), 1 << 63, UInt64.max, UInt64(Int64.max), UInt64(Limits.Wire.fileSize),
      UInt64(Limits.Wire.fileSize) + 1, UInt64(Limits.Wire.fileSize) - 1, UInt64(bitPattern: -1_048_576),
    ]
    for first in extremes {
      for second in extremes {
        let frames = [
          Forged.frame(.read) {
            $0.write(handle.rawValue)
            $0.write(first)
            $0.write(UInt32(truncatingIfNeeded: second))
          },
          Forged.frame(.allocate) {
            $0.write(handle.rawValue)
            $0.write(first)
            $0.write(second)
            $0.write(1 as UInt32)
          },
          Forged.frame(.seek) {
            $0.write(handle.rawValue)
            $0.write(first)
            $0.write(UInt8(truncatingIfNeeded: second))
          },
          Forged.frame(.list) {
            $0.write(second)
            $0.write(string: [])
            $0.write(first)
          },
          Forged.frame(.setattr) {
            $0.write(1 as UInt8)
            $0.write(handle.rawValue)
            $0.write(UInt32.max)
            $0.write(first)
            for _ in 0..<2 {
              $0.write(second)
              $0.write(UInt32(truncatingIfNeeded: first))
            }
            $0.write(UInt32.max)
          },
        ]
        for frame in frames { #expect(e.peer.wait(e.peer.begin(frame)) != nil) }
      }
      let write = Request.writeFrame(handle, offset: Int64(bitPattern: first), count: 4)
      write.write(0x7878_7878 as UInt32)
      #expect(e.peer.wait(e.peer.begin(write)) != nil)
    }
    #expect(try e.peer.error(.write(handle, offset: -1, slice([1]))) == .invalidArgument)
    #expect(try e.peer.error(.write(handle, offset: Int64.max, slice([1]))) == .fileTooLarge)
    #expect(try e.peer.error(.setattr(.handle(handle), AttributeChanges(size: Int64.max))) == .fileTooLarge)
    #expect(try e.peer.error(.read(handle, offset: 0, count: UInt32.max)) == .invalidArgument)
    #expect(try e.peer.done(.setattr(.handle(handle), AttributeChanges(size: 0))).attributes().size == 0)
  }

  @Test func `deep and long paths are refused or served, never too much`() throws {
    let e = try Exported()
    let deep = Array(repeating: "d", count: Limits.Wire.depth + 1).joined(separator: "/")
    for frame in Forged.frames(path: Array(deep.utf8), good: Array("g".utf8), handle: 9) {
      #expect(e.peer.wait(e.peer.begin(frame))?.error == .fileNameTooLong)
    }
    let long = [UInt8](repeating: 65, count: Limits.Wire.path + 1)
    for frame in Forged.frames(path: long, good: Array("g".utf8), handle: 9) {
      #expect(e.peer.wait(e.peer.begin(frame))?.error == .fileNameTooLong)
    }
    let name = [UInt8](repeating: 0xff, count: 255)
    try e.peer.done(.mkdir(Path(name), mode: 0o755))
    #expect(try e.peer.list(.root).map(\.name) == [name])
    let walking = Peer(Share(try ConfinedDirectory(e.directory.path, walking: true), readOnly: false))
    var nested = try path("n")
    for _ in 0..<1_000 {
      try e.peer.done(.mkdir(nested, mode: 0o755))
      nested = try nested.appending(Array("n".utf8))
    }
    #expect(try walking.error(.lookup(.path(nested))) == .noSuchFileOrDirectory)
    #expect(try e.peer.error(.lookup(.path(nested))) == .noSuchFileOrDirectory)
  }

  @Test func `one peer's open files leave another its own`() throws {
    let e = try Exported()
    try place("x", at: e.local("f"))
    var (opened, refused) = (0, 0)
    for _ in 0..<(e.share.allowance.most + 200) {
      switch try e.peer.error(.open(e.peer.newHandle(), path("f"), .read, prefetch: 0)) {
      case nil: opened += 1
      case .tooManyOpenFiles: refused += 1
      default: Issue.record("neither opened nor refused")
      }
    }
    #expect(opened == e.share.allowance.most && refused == 200)
    #expect(try e.peer.error(.list(e.peer.newHandle(), .root, cookie: 0)) == .tooManyOpenFiles)
    #expect(try e.peer.error(.create(e.peer.newHandle(), path("new"), .write, mode: 0o644)) == .tooManyOpenFiles)
    #expect(access(e.local("new").string, F_OK) != 0)
    let other = Peer(e.share)
    let handle = try other.open(path("f"))
    #expect(try other.read(handle) == Array("x".utf8))
    try e.peer.done(.close(Handle(rawValue: 1)))
    try e.peer.done(.open(e.peer.newHandle(), path("f"), .read, prefetch: 0))
  }

  @Test func `each peer has descriptors of its own, and a part of the others`() {
    let allowance = OpenFileAllowance(limit: 20_000)
    let all = 20_000 - Limits.Export.reservedDescriptors
    #expect(allowance.most >= 5_000)
    #expect(allowance.own * Limits.Session.guests + OpenFileAllowance.stock(limit: 20_000) <= all)
    #expect(allowance.most - allowance.own <= OpenFileAllowance.stock(limit: 20_000) / 2)
    let rich = OpenFileAllowance(limit: 1_048_576)
    #expect(rich.own == Limits.Export.ownOpenFiles && rich.most == Limits.Export.openFiles)
    let poor = OpenFileAllowance(limit: 20)
    #expect(poor.own == 8 && poor.most == 8)
    // Two that take all they can leave nothing in the stock, and a third its own.
    let stock = OpenFileStock(OpenFileAllowance.stock(limit: 20_000))
    let tables = (0..<3).map { _ in OpenFileTable(allowance, stock) }
    func fill(_ table: OpenFileTable) -> Int {
      var count = 0
      while (try? table.reserve(Handle(rawValue: UInt64(count)))) != nil { count += 1 }
      return count
    }
    #expect(fill(tables[0]) == allowance.most && fill(tables[1]) == allowance.most)
    #expect(fill(tables[2]) == allowance.own)
    tables[0].end()
    tables[1].fill(Handle(rawValue: 3), nil)
    #expect((try? tables[1].reserve(Handle(rawValue: 3))) != nil)
    #expect((try? tables[2].reserve(Handle(rawValue: 99_999))) != nil)
  }

  @Test func `handles of others, of earlier and of no files are refused`() throws {
    let e = try Exported()
    let other = Peer(e.share)
    let handle = Handle(rawValue: 77)
    try e.peer.done(.create(handle, path("f"), [.read, .write], mode: 0o644))
    #expect(try e.peer.error(.open(handle, path("f"), .read, prefetch: 0)) == .invalidArgument)
    #expect(try e.peer.error(.create(handle, path("g"), .write, mode: 0o644)) == .invalidArgument)
    #expect(access(e.local("g").string, F_OK) != 0)
    #expect(try e.peer.error(.list(handle, .root, cookie: 0)) == .badFileDescriptor)
    let uses: [Request] = [
      .read(handle, offset: 0, count: 1), .write(handle, offset: 0, slice([1])), .fsync(handle, dataOnly: false),
      .close(handle), .seek(handle, offset: 0, .data), .allocate(handle, offset: 0, count: 1, mode: 0),
      .lookup(.handle(handle)), .setattr(.handle(handle), AttributeChanges(size: 0)),
      .link(existing: .handle(handle), try path("h")), .append(handle, more: true, slice([1])), .flush(handle),
    ]
    for request in uses { #expect(try other.error(request) == .badFileDescriptor) }
    try e.peer.done(.close(handle))
    for request in uses { #expect(try e.peer.error(request) == .badFileDescriptor) }
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().size == 0)
  }

  @Test func `setuid and setgid neither come nor go`() throws {
    let e = try Exported()
    _ = try e.peer.create(path("f"), mode: 0o7777)
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().mode == 0o101777)
    try e.peer.done(.mkdir(path("d"), mode: 0o6755))
    #expect(try e.peer.done(.lookup(.path(path("d")))).attributes().mode == 0o040755)
    try e.peer.done(.mknod(path("n"), mode: 0o106755))
    #expect(try e.peer.done(.setattr(.path(path("n")), AttributeChanges(mode: 0o6711))).attributes().mode == 0o100711)
    var status = stat()
    #expect(chmod(e.local("n").string, 0o6755) == 0)
    #expect(try e.peer.done(.lookup(.path(path("n")))).attributes().mode == 0o100755)
    // What a peer has written to does not run as somebody else, even if root exports it.
    let handle = try e.peer.open(path("n"), .write)
    try e.peer.write(handle, "evil")
    #expect(stat(e.local("n").string, &status) == 0 && status.st_mode & 0o6000 == 0)
  }

  @Test func `a read-only share refuses every change by EROFS`() throws {
    let e = try Exported(readOnly: true)
    try place("x", at: e.local("f"))
    #expect(mkdir(e.local("d").string, 0o755) == 0)
    let handle = try e.peer.open(path("f"))
    let f = try path("f")
    let changes: [Request] = [
      .setattr(.path(f), AttributeChanges(mode: 0o600)), .setattr(.handle(handle), AttributeChanges(size: 0)),
      .symlink(try path("s"), target: [65]), .link(existing: .path(f), try path("l")),
      .link(existing: .handle(handle), try path("l")), .mkdir(try path("m"), mode: 0o755),
      .mknod(try path("n"), mode: 0o100644), .unlink(f), .rmdir(try path("d")),
      .rename(f, to: try path("g"), .replace), .create(e.peer.newHandle(), f, .read, mode: 0o644),
      .open(e.peer.newHandle(), f, .write, prefetch: 0), .open(e.peer.newHandle(), f, [.read, .append], prefetch: 0),
      .open(e.peer.newHandle(), f, [.read, .truncate], prefetch: 0), .write(handle, offset: 0, slice([1])),
      .allocate(handle, offset: 0, count: 1, mode: 0), .append(handle, more: false, slice([1])),
      .reopen(e.peer.newHandle(), f, .write, FileIdentity(device: 0, inode: 0, generation: 0)),
      .open(e.peer.newHandle(), f, OpenOptions(rawValue: 0xff), prefetch: 0),
    ]
    for request in changes { #expect(try e.peer.error(request) == .readOnlyFileSystem) }
    let covered = Set(changes.map(\.operation))
    let harmless: Set<Operation> = [.lookup, .list, .readlink, .read, .fsync, .flush, .close, .statfs, .seek, .open]
    #expect(covered.union(harmless) == Set(Operation.allCases))
    #expect(try e.peer.read(handle) == Array("x".utf8))
    #expect(try e.peer.list(.root).count == 2)
    try e.peer.done(.statfs(.root))
    try e.peer.done(.fsync(handle, dataOnly: false))
    try e.peer.done(.close(handle))
    #expect(e.peer.responder.isReadOnly)
  }
}

/// Runs `body` on a thread of its own while `action` runs here, and waits for it.
func withThread(_ body: @escaping @Sendable () -> Void, during action: () throws -> Void) throws {
  final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
  var thread = pthread_t()
  let result = pthread_create(
    &thread, nil,
    { argument in
      guard let argument else { return nil }
      Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
      return nil
    }, Unmanaged.passRetained(Body(body)).toOpaque())
  guard result == 0 else { throw Errno(rawValue: result) }
  defer { pthread_join(thread, nil) }
  try action()
}

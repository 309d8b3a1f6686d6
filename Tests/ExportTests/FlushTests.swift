import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// What is open between a flush and the next change, and what changes at opening and reading.
@Suite(.onThreads) struct FlushTests {
  /// Whether a program could be executed: nothing has it open for writing.
  private func isClosed(_ path: FilePath) -> Bool {
    let file = open(path.string, O_RDONLY)
    defer { close(file) }
    // A lease for reading is given only if nobody has the file open for writing (fcntl(2)); F_SETLEASE, F_RDLCK.
    return fcntl(file, 1024, 0) == 0
  }

  @Test(arguments: [[.write], [.read, .write]] as [OpenOptions])
  func `after a flush nothing is open for writing, until the next change`(options: OpenOptions) throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"), options, mode: 0o755)
    try e.peer.write(handle, "one")
    #expect(!isClosed(e.local("f")))
    try e.peer.done(.flush(handle))
    #expect(isClosed(e.local("f")))
    try e.peer.done(.flush(handle))
    try e.peer.done(.fsync(handle, dataOnly: false))
    #expect(isClosed(e.local("f")))
    #expect(try e.peer.done(.lookup(.handle(handle))).attributes().size == 3)
    try e.peer.write(handle, "two", at: 3)
    #expect(!isClosed(e.local("f")))
    try e.peer.done(.flush(handle))
    try e.peer.done(.append(handle, more: false, slice([33])))
    try e.peer.done(.flush(handle))
    try e.peer.done(.setattr(.handle(handle), AttributeChanges(mode: 0o711, size: 4)))
    try e.peer.done(.flush(handle))
    try e.peer.done(.allocate(handle, offset: 0, count: 5, mode: 0))
    try e.peer.done(.flush(handle))
    if options.contains(.read) {
      #expect(try e.peer.read(handle) == Array("onet\0".utf8))
    } else {
      #expect(try e.peer.ask(.read(handle, offset: 0, count: 1)).error == .badFileDescriptor)
    }
    #expect(isClosed(e.local("f")))
    try e.peer.done(.close(handle))
    #expect(contents(e.local("f")) == Array("onet\0".utf8))
  }

  // Another test that starts a program at that moment would hold the file open for it (ETXTBSY, execve(2)).
  @Test(.alone) func `a program that was copied in can be executed at once`() throws {
    let e = try Exported()
    let program = try #require(contents("/bin/true"))
    for round in 0..<20 {
      let handle = try e.peer.create(path("t\(round)"), .write, mode: 0o755)
      var offset = 0
      while offset < program.count {
        let piece = Array(program[offset..<min(offset + Limits.Wire.data, program.count)])
        try e.peer.done(.write(handle, offset: Int64(offset), slice(piece)))
        offset += piece.count
      }
      try e.peer.done(.flush(handle))
      #expect(run([e.local("t\(round)").string]) == 0)
    }
  }

  /// Needs root, which becomes somebody else for a moment, on a thread of its own.
  @Test func `a descriptor outlives a mode that forbids its user to write`() throws {
    let directory = try TemporaryDirectory()
    #expect(chmod(directory.path.string, 0o777) == 0)
    let confined = try ConfinedDirectory(directory.path)
    let file = try path("f")
    let seen = ThreadResult()
    try withThread {
      var groups: [gid_t] = []
      guard p2pfs_become(65_534, &groups, 0) == 0 else { return }
      do throws(Errno) {
        let open = ServedFile(try confined.create(file, [.write, .exclusive], mode: 0o444), .write)
        func write(_ text: StaticString, at offset: Int64) throws(Errno) {
          try open.write(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount), at: offset)
        }
        try write("one", at: 0)
        try open.flush()
        try write("two", at: 3)
        _ = try open.change(AttributeChanges(size: 4), in: confined)
        try open.allocate(0, 6, mode: 0)
        try open.sync(dataOnly: false)
        try open.close()
        seen.set(escaped: 0, error: 0, allowed: 0)
      } catch {
        seen.set(escaped: 0, error: error.rawValue, allowed: -1)
      }
    } during: {
    }
    #expect(seen.values.error == 0 && seen.values.allowed == 0)
    #expect(contents(directory.path.appending("f")) == Array("onet\0\0".utf8))
  }

  @Test func `an unlinked file lives through a flush`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"))
    try e.peer.write(handle, "one")
    try e.peer.done(.unlink(path("f")))
    try e.peer.done(.flush(handle))
    try e.peer.write(handle, "two", at: 3)
    #expect(try e.peer.read(handle) == Array("onetwo".utf8))
  }

  @Test func `an opening for reading that truncates does that, if the file may be written`() throws {
    let e = try Exported()
    try place("hello", at: e.local("f"))
    let handle = try e.peer.open(path("f"), [.read, .truncate])
    #expect(try e.peer.read(handle) == [])
    #expect(contents(e.local("f")) == [])
    #expect(try e.peer.error(.open(e.peer.newHandle(), .root, [.read, .truncate], prefetch: 0)) == .isDirectory)
  }

  @Test func `the time of access shows what programs have read, not what was read ahead`() throws {
    let e = try Exported()
    try place("hello", at: e.local("f"))
    func accessed() throws -> Int64 { try e.peer.done(.lookup(.path(path("f")))).attributes().accessed.seconds }
    let old = Timestamp(seconds: 1_000_000_000, nanoseconds: 0)
    try e.peer.done(.setattr(.path(path("f")), AttributeChanges(accessed: .set(old))))
    for options in [.read, [.read, .write]] as [OpenOptions] {
      let handle = e.peer.newHandle()
      try e.peer.done(.open(handle, path("f"), options, prefetch: 100))
      #expect(try e.peer.read(handle) == Array("hello".utf8))
      if options.contains(.write) {
        try e.peer.done(.flush(handle))
        #expect(try e.peer.read(handle) == Array("hello".utf8))
      }
      try e.peer.done(.close(handle))
      #expect(try accessed() == old.seconds)
    }
    let handle = try e.peer.open(path("f"))
    try e.peer.done(.close(handle, accessed: true))
    #expect(try accessed() > old.seconds)
  }

  @Test func `the umask of the program counts, unless the directory has a default ACL`() throws {
    let e = try Exported()
    func mode(_ name: String) throws -> UInt32 {
      try e.peer.done(.lookup(.path(path(name)))).attributes().mode & 0o7777
    }
    try e.peer.done(.mkdir(path("d"), mode: 0o777, umask: 0o027))
    #expect(try mode("d") == 0o750)
    try e.peer.done(.create(e.peer.newHandle(), path("d/f"), .write, mode: 0o666, umask: 0o077))
    #expect(try mode("d/f") == 0o600)
    try e.peer.done(.mknod(path("d/n"), mode: 0o010666, umask: 0o002))
    #expect(try mode("d/n") == 0o664)
    try e.peer.done(.mkdir(path("d/plain"), mode: 0o777))
    #expect(try mode("d/plain") == 0o777)
    let acl = "d:u::rwx,d:g::rwx,d:o::rx"
    try #require(run(["/usr/bin/setfacl", "-m", acl, e.local("d").string]) == 0, "setfacl(1), of the package acl")
    try e.peer.done(.mkdir(path("d/e"), mode: 0o777, umask: 0o077))
    #expect(try mode("d/e") == 0o775)
    try e.peer.done(.create(e.peer.newHandle(), path("d/g"), .write, mode: 0o666, umask: 0o077))
    #expect(try mode("d/g") == 0o664)
  }

  /// Needs root.
  @Test func `a directory with a setgid bit keeps it, and gives its group to what is made in it`() throws {
    let e = try Exported()
    try e.peer.done(.mkdir(path("d"), mode: 0o755))
    let group: gid_t = 54_321
    #expect(chown(e.local("d").string, 0, group) == 0 && chmod(e.local("d").string, 0o2755) == 0)
    let attributes = try e.peer.done(.setattr(.path(path("d")), AttributeChanges(mode: 0o775))).attributes()
    #expect(attributes.mode == 0o042775)
    #expect(try e.peer.done(.mkdir(path("d/e"), mode: 0o2755)).attributes().mode == 0o042755)
    _ = try e.peer.create(path("d/f"), mode: 0o2755)
    var status = stat()
    for (name, mode) in [("d/e", 0o042755), ("d/f", 0o100755)] as [(String, mode_t)] {
      #expect(stat(e.local(name).string, &status) == 0 && status.st_gid == group && status.st_mode == mode)
    }
  }

  @Test func `a socket is made like any other node`() throws {
    let e = try Exported()
    #expect(try e.peer.done(.mknod(path("s"), mode: 0o140777, umask: 0o022)).attributes().mode == 0o140755)
    #expect(try e.peer.error(.open(e.peer.newHandle(), path("s"), .read, prefetch: 0)) == .noSuchAddressOrDevice)
  }
}

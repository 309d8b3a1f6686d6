import CP2PFSLinux
import Glibc
import Synchronization
import SystemPackage

extension POSIXCase {
  /// One file is one inode, whatever names and descriptors it has.
  static let identity: [POSIXCase] = [
    POSIXCase("what is written by one name is read, mapped and measured by the other") { place in
      let (one, other) = (place.appending("a"), place.appending("b"))
      try write(String(repeating: "A", count: 8_192), to: one)
      try check(link(one.string, other.string), "link")
      let file = try File(other, O_RDWR)
      _ = try file.read(8_192, at: 0)
      let map = try Mapping(file, 8_192)
      _ = map[0]
      try File(one, O_WRONLY).write(Array("ZZZZ".utf8), at: 10)
      try expect(try file.read(4, at: 10) == Array("ZZZZ".utf8), "read")
      try expect(map[10] == UInt8(ascii: "Z"), "mapped")
      try check(truncate(one.string, 5), "truncate")
      try expect(try file.status.st_size == 5, "size")
      try write("longer than that", to: other)
      try expect(try status(one).st_size == 16, "size by the other name")
      try expect(try status(one).st_ino == status(other).st_ino, "inode")
    },
    POSIXCase("link counts are right at once") { place in
      func count(_ name: String) throws -> Int { Int(try status(place.appending(name)).st_nlink) }
      try write("", to: place.appending("a"))
      try check(link(place.appending("a").string, place.appending("b").string), "link")
      try expect(try count("a") == 2 && count("b") == 2, "after link")
      try check(unlink(place.appending("b").string), "unlink")
      try expect(try count("a") == 1, "after unlink")
      try write("", to: place.appending("c"))
      try check(link(place.appending("c").string, place.appending("d").string), "link")
      try check(rename(place.appending("a").string, place.appending("c").string), "rename")
      try expect(try count("d") == 1 && count("c") == 1, "after rename over")
      let directories = Int(try status(place).st_nlink)
      try check(mkdir(place.appending("e").string, 0o755), "mkdir")
      try expect(try Int(status(place).st_nlink) == directories + 1, "after mkdir")
      try check(rmdir(place.appending("e").string), "rmdir")
      try expect(try Int(status(place).st_nlink) == directories, "after rmdir")
    },
    POSIXCase("a lock taken by one name holds by the other") { place in
      try write("", to: place.appending("a"))
      try check(link(place.appending("a").string, place.appending("b").string), "link")
      let (one, other) = (try File(place.appending("a"), O_RDWR), try File(place.appending("b"), O_RDWR))
      try check(flock(one.descriptor, LOCK_EX | LOCK_NB), "flock")
      try expectError(EWOULDBLOCK, from: flock(other.descriptor, LOCK_EX | LOCK_NB), "flock by the other name")
    },
    POSIXCase("an open directory that is removed or replaced has no links") { place in
      for name in ["a", "b", "c"] { try check(mkdir(place.appending(name).string, 0o755), "mkdir") }
      let (one, other) = (try File(place.appending("a"), O_RDONLY), try File(place.appending("c"), O_RDONLY))
      try check(rmdir(place.appending("a").string), "rmdir")
      try check(rename(place.appending("b").string, place.appending("c").string), "rename")
      try expect(try one.status.st_nlink == 0, "removed")
      try expect(try other.status.st_nlink == 0, "replaced")
    },
    POSIXCase("a rewound directory shows a file made since it was opened") { place in
      guard let directory = opendir(place.string) else { throw POSIXFailure(description: "opendir") }
      defer { closedir(directory) }
      try write("", to: place.appending("new"))
      rewinddir(directory)
      try expect(entries(directory) == ["new"], "not seen")
    },
    POSIXCase("a file is made beside a thread that removes it again and again") { place in
      let path = place.appending("a")
      let isOver = Atomic(false)
      let remover = Thread { while !isOver.load(ordering: .relaxed) { unlink(path.string) } }
      var failures: [CInt] = []
      for _ in 0..<500 {
        let file = open(path.string, O_WRONLY | O_APPEND | O_CREAT, 0o644)
        if file < 0 { failures.append(errno) } else { close(file) }
      }
      isOver.store(true, ordering: .relaxed)
      try remover.join()
      try expect(failures.isEmpty, "\(failures)")
    },
    POSIXCase("a file without a name is opened again by /proc/self/fd") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(Array("hello".utf8))
      try check(unlink(place.appending("a").string), "unlink")
      let again = try File(FilePath("/proc/self/fd/\(file.descriptor)"), O_RDONLY)
      try expect(try again.read(10, at: 0) == Array("hello".utf8), "contents")
      try file.write(Array(" more".utf8))
      try expect(try again.status.st_size == 10 && again.status.st_nlink == 0, "status")
    },
  ]

  /// Flags that change, or that are rarely used.
  static let flags: [POSIXCase] = [
    POSIXCase("O_APPEND set by fcntl counts from the next write on") { place in
      let path = place.appending("a")
      let file = try File(path, O_WRONLY | O_CREAT)
      try file.write(Array("one\n".utf8))
      try check(fcntl(file.descriptor, F_SETFL, O_APPEND), "fcntl")
      try File(path, O_WRONLY | O_APPEND).write(Array("two\n".utf8))
      try file.write(Array("three\n".utf8))
      try expect(try contents(path) == "one\ntwo\nthree\n", try contents(path))
    },
    POSIXCase("O_APPEND cleared by fcntl counts from the next write on") { place in
      let path = place.appending("a")
      let file = try File(path, O_WRONLY | O_CREAT | O_APPEND)
      try file.write(Array("0123456789".utf8))
      try check(fcntl(file.descriptor, F_SETFL, 0), "fcntl")
      try file.write(Array("X".utf8), at: 2)
      try check(lseek(file.descriptor, 5, SEEK_SET), "lseek")
      try file.write(Array("Y".utf8))
      try expect(try contents(path) == "01X34Y6789", try contents(path))
    },
    POSIXCase("an append by one descriptor goes behind what another has written") { place in
      for number in 0..<20 {
        let path = place.appending("a\(number)")
        let (one, other) = (try File(path, O_RDWR | O_CREAT), try File(path, O_WRONLY | O_APPEND))
        try one.write([UInt8](repeating: 119, count: 100_000))
        try other.write([UInt8](repeating: 65, count: 100))
        try one.write([UInt8](repeating: 120, count: 10), at: 100_100)
        try expect(try one.status.st_size == 100_110, "size")
        let end = try File(path, O_RDONLY).read(200, at: 99_999)
        let expected = [119] + [UInt8](repeating: 65, count: 100) + [UInt8](repeating: 120, count: 10)
        try expect(end == expected, "other contents")
      }
    },
    POSIXCase("appends of two handles, larger than the kernel's requests, stay whole") { place in
      let path = place.appending("a")
      try write("", to: path)
      let bytes = [[UInt8]](
        arrayLiteral: .init(repeating: 65, count: 2_097_152), .init(repeating: 66, count: 2_097_052))
      let threads = bytes.map { bytes in
        Thread {
          for _ in 0..<4 { try File(path, O_WRONLY | O_APPEND).write(bytes) }
        }
      }
      for thread in threads { try thread.join() }
      let all = try File(path, O_RDONLY).read(17_000_000, at: 0)
      try expect(all.count == 4 * (2_097_152 + 2_097_052), "\(all.count) bytes")
      var start = 0
      while start < all.count {
        let end = start + (all[start] == 65 ? 2_097_152 : 2_097_052)
        try expect(all[start..<min(end, all.count)].allSatisfy { $0 == all[start] }, "torn at \(start)")
        start = end
      }
    },
    POSIXCase("a file opened for appending can be mapped") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT | O_APPEND)
      try file.write([UInt8](repeating: 120, count: 4_096))
      let map = try Mapping(file, 4_096)
      map[1] = 65
      map.flush()
      try file.write(Array("end".utf8))
      try expect(try contents(place.appending("a")).hasPrefix("xAx"), "mapped write")
      try expect(try contents(place.appending("a")).hasSuffix("xend"), "append behind it")
    },
    POSIXCase("O_RDONLY with O_TRUNC truncates") { place in
      try write("hello", to: place.appending("a"))
      _ = try File(place.appending("a"), O_RDONLY | O_TRUNC)
      try expect(try status(place.appending("a")).st_size == 0, "not truncated")
    },
    POSIXCase("a time set after a mapped write stays") { place in
      let path = place.appending("a")
      let time = timespec(tv_sec: 1_000_000_000, tv_nsec: 7)
      do {
        let file = try File(path, O_RDWR | O_CREAT)
        try check(ftruncate(file.descriptor, 65_536), "ftruncate")
        let map = try Mapping(file, 65_536)
        map[0] = 1
        map[40_000] = 1
        try check(futimens(file.descriptor, [time, time]), "futimens")
      }
      let found = try status(path).st_mtim
      try expect(found.tv_sec == time.tv_sec && found.tv_nsec == time.tv_nsec, "\(found.tv_sec).\(found.tv_nsec)")
    },
    POSIXCase("a Unix socket is bound and connected to") { place in
      let server = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      defer {
        close(server)
        close(client)
      }
      // A path of at most 107 bytes, however deep this is.
      let directory = try File(place, O_RDONLY)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) {
        $0.copyBytes(from: Array("/proc/self/fd/\(directory.descriptor)/s".utf8))
      }
      let length = socklen_t(MemoryLayout<sockaddr_un>.size)
      try withUnsafePointer(to: &address) { address in
        try address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          try check(bind(server, address, length), "bind")
          try check(listen(server, 1), "listen")
          try check(connect(client, address, length), "connect")
        }
      }
      try check(unlink(place.appending("s").string), "unlink")
    },
  ]
}

/// A shared mapping of a file, for reading and writing, that ends with the value.
final class Mapping {
  private let base: UnsafeMutableRawPointer
  private let count: Int

  init(_ file: File, _ count: Int) throws {
    guard let base = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0), base != MAP_FAILED else {
      throw POSIXFailure(description: "mmap: \(Errno(rawValue: errno))")
    }
    self.base = base
    self.count = count
  }

  deinit { munmap(base, count) }

  subscript(offset: Int) -> UInt8 {
    get { base.load(fromByteOffset: offset, as: UInt8.self) }
    set { base.storeBytes(of: newValue, toByteOffset: offset, as: UInt8.self) }
  }

  func flush() { msync(base, count, MS_SYNC) }
}

/// A thread of a case, which tells what it ended with.
final class Thread: @unchecked Sendable {
  // Written by the thread, read after `join`.
  private var error: (any Error)?
  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () throws -> Void) {
    let start = Start(thread: self, body: body)
    pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        do { try start.body() } catch { start.thread.error = error }
        return nil
      }, Unmanaged.passRetained(start).toOpaque())
  }

  func join() throws {
    pthread_join(thread, nil)
    if let error { throw error }
  }

  private final class Start {
    let thread: Thread
    let body: @Sendable () throws -> Void

    init(thread: Thread, body: @escaping @Sendable () throws -> Void) {
      self.thread = thread
      self.body = body
    }
  }
}

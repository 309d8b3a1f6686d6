import P2PFSCore
import Glibc
import Rig
import Synchronization
import SystemPackage
import Testing

@testable import P2PFSMount

/// What the exporter's programs do beside a mount, and what goes wrong there.
@Suite(.onThreads, .serialized) struct ChangesOfOthersTests {
  private static func fill(_ path: String, _ byte: UInt8, _ count: Int) {
    let file = open(path, O_WRONLY | O_CREAT, 0o644)
    let bytes = [UInt8](repeating: byte, count: count)
    _ = pwrite(file, bytes, count, 0)
    close(file)
  }

  private func readAll(_ path: String) -> [UInt8] {
    let file = open(path, O_RDONLY)
    defer { close(file) }
    var all: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 1 << 20)
    while case let count = read(file, &block, block.count), count > 0 { all += block[..<count] }
    return all
  }

  @Test func `a reader of the old contents leaves none of them to those who come later`() async throws {
    let share = try await MountedShare()
    let (there, here) = (share.exported.path.string + "/f", share.path.string + "/f")
    let size = 4 << 20
    Self.fill(there, 65, size)
    let old = open(here, O_RDONLY)
    var block = [UInt8](repeating: 0, count: 65_536)
    for _ in 0..<8 { _ = read(old, &block, block.count) }
    usleep(200_000)
    Self.fill(there, 66, size)
    close(open(here, O_RDONLY))
    while read(old, &block, block.count) > 0 {}
    close(old)
    #expect(readAll(here) == [UInt8](repeating: 66, count: size))
  }

  @Test func `a file that has grown or shrunk is read and copied as a whole at once`() async throws {
    let share = try await MountedShare()
    let (there, here) = (share.exported.path.string + "/f", share.path.string + "/f")
    for size in [0, 3_000, 5_000, 10, 100_000, 1] {
      unlink(there + ".new")
      let file = open(there, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
      _ = write(file, [UInt8](repeating: 66, count: size), size)
      close(file)
      for _ in 0..<2 { #expect(readAll(here).count == size) }
      let again = open(here, O_RDONLY)
      #expect(lseek(again, 0, SEEK_END) == size)
      close(again)
    }
  }

  @Test func `a remembered name stands in nobody's way`() async throws {
    let share = try await MountedShare()
    let result = shell(
      """
      set -e; cd \(share.path); E=\(share.exported.path)
      echo 1 > f; cat f > /dev/null; rm $E/f; echo 2 > f; echo 1 > g; cat g > /dev/null; rm $E/g; echo 2 >> g
      mkdir d; ls d; touch d/x; rm -r $E/d; mkdir d; echo x > s; echo y > t; rm $E/t; mv s t; rm -r $E/d; mkdir n; mv n d
      test $(cat f g | wc -l) = 2
      """)
    #expect(result.status == 0, "\(result.output)")
  }

  @Test func `a file that is replaced all the time always opens`() async throws {
    let share = try await MountedShare()
    let (there, here) = (share.exported.path.string, share.path.string + "/f")
    let isOver = Flag()
    Self.fill(there + "/f", 65, 10)
    let replacer = Worker("replacer") {
      var number = 0
      while !isOver.isSet {
        number += 1
        let file = open(there + "/t", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        _ = write(file, [UInt8](repeating: 66, count: 10 + number % 7), 10 + number % 7)
        close(file)
        rename(there + "/t", there + "/f")
      }
    }
    let failures = Mutex<[Int32]>([])
    let openers = (0..<3).map { number in
      Worker("opener-\(number)") {
        for _ in 0..<700 {
          let file = open(here, O_RDONLY)
          if file < 0 { failures.withLock { $0.append(errno) } } else { close(file) }
        }
      }
    }
    for opener in openers { opener.join() }
    isOver.set()
    replacer.join()
    #expect(failures.withLock { $0 } == [])
  }

  /// An open directory and a file in it, for a directory that is then moved away at the exporter, with another one of the
  /// same names made in its place.
  private static func replaceDirectory(_ share: MountedShare) -> CInt {
    let there = share.exported.path.string + "/d"
    for name in ["", "/s"] { mkdir(there + name, 0o755) }
    fill(there + "/f", 65, 3)
    let directory = open(share.path.string + "/d", O_RDONLY | O_DIRECTORY)
    _ = faccessat(directory, "f", F_OK, 0)
    rename(there, there + ".moved")
    for name in ["", "/s"] { mkdir(there + name, 0o755) }
    fill(there + "/f", 66, 8)
    return directory
  }

  @Test func `what is done by a directory that is another one by now is not done to that`() async throws {
    typealias Call = @Sendable (CInt) -> CInt
    let calls: [Call] = [
      { unlinkat($0, "f", 0) }, { unlinkat($0, "s", AT_REMOVEDIR) }, { mkdirat($0, "n", 0o755) },
      { mknodat($0, "n", S_IFIFO | 0o644, 0) }, { symlinkat("x", $0, "n") }, { linkat($0, "f", $0, "n", 0) },
      { renameat($0, "f", $0, "n") }, { fchmodat($0, "f", 0o600, 0) }, { openat($0, "n", O_WRONLY | O_CREAT, 0o644) },
      { openat($0, "f", O_WRONLY | O_TRUNC) }, { openat($0, "f", O_RDWR) }, { fchmod($0, 0o700) },
    ]
    for (number, call) in calls.enumerated() {
      let share = try await MountedShare()
      let directory = Self.replaceDirectory(share)
      let result = call(directory)
      #expect(result == -1 && errno == ESTALE, "\(number): \(result), \(errno)")
      let found = shell("cd \(share.exported.path)/d && stat -c %a . f && cat f && ls")
      #expect(found.output == "755\n644\nBBBBBBBBf\ns\n", "\(number)")
      close(directory)
    }
  }

  @Test func `a path leads to what has its names at once`() async throws {
    let calls = [
      "rm d/f", "rmdir d/s", "mkdir d/n", "touch d/f", "ln d/f d/n", "mv d/f d/n", "chmod 600 d/f", "echo > d/n",
      "echo > d/f", "chmod 700 d", "ls d", "mkdir d/s/n", "touch d/s/n", "rm d/s/n || test ! -e d/s/n",
    ]
    for call in calls {
      let share = try await MountedShare()
      let directory = Self.replaceDirectory(share)
      let result = shell("cd \(share.path) && \(call)")
      #expect(result.status == 0, "\(call): \(result.output)")
      #expect(
        shell("cd \(share.exported.path)/d.moved && stat -c %a . f && cat f && ls").output == "755\n644\nAAAf\ns\n")
      close(directory)
    }
  }

  @Test(arguments: ["replaced", "moved"]) func `a change by a descriptor is made to its file`(how: String) async throws
  {
    let share = try await MountedShare()
    let there = share.exported.path.string
    Self.fill(there + "/f", 65, 9)
    let file = open(share.path.string + "/f", O_RDWR)
    if how == "replaced" {
      Self.fill(there + "/new", 66, 9)
      link(there + "/f", there + "/old")
      rename(there + "/new", there + "/f")
    } else {
      rename(there + "/f", there + "/old")
    }
    #expect(fchmod(file, 0o600) == 0)
    let times = [timespec(tv_sec: 5, tv_nsec: 6), timespec(tv_sec: 7, tv_nsec: 8)]
    #expect(futimens(file, times) == 0)
    #expect(truncate("/proc/self/fd/\(file)", 4) == 0)
    #expect(fchown(file, getuid(), getgid()) == 0)
    #expect(futimens(file, times) == 0)
    var status = stat()
    #expect(fstat(file, &status) == 0 && status.st_size == 4 && status.st_mtim.tv_sec == 7)
    #expect(shell("stat -c \"%a %s %Y\" \(there)/old").output == "600 4 7\n")
    if how == "replaced" {
      #expect(shell("stat -c \"%a %s\" \(there)/f; cat \(there)/f").output == "644 9\nBBBBBBBBB")
      #expect(chmod(share.path.string + "/f", 0o640) == 0)
      #expect(shell("stat -c %a \(there)/f \(there)/old").output == "640\n600\n")
    }
    close(file)
  }

  @Test func `an error of writing stays told though a child has closed the file`() async throws {
    let share = try await MountedShare()
    let inner = share.exported.path.string + "/small"
    mkdir(inner, 0o755)
    #expect(mount("test", inner, "tmpfs", 0, "size=1m") == 0)
    defer { umount2(inner, 2) }
    let path = share.path.string + "/small/f"
    let file = open(path, O_WRONLY | O_CREAT, 0o644)
    let bytes = [UInt8](repeating: 1, count: 100_000)
    for _ in 0..<15 { _ = write(file, bytes, bytes.count) }
    let copy = dup(file)
    let first = close(copy) == 0 ? 0 : errno
    #expect(first == ENOSPC)
    #expect(fsync(file) == -1 && errno == ENOSPC)
    #expect(fsync(file) == 0)
    #expect(close(file) == 0)
  }

  @Test func `a signal with a handler neither ends a change nor makes it twice`() async throws {
    let share = try await MountedShare()
    let path = share.path.string + "/f"
    let before = signal(SIGUSR1) { _ in }
    defer { signal(SIGUSR1, before) }
    Self.fill(path, 65, 1)
    let file = open(path, O_WRONLY | O_APPEND)
    share.cut()
    let outcome = Outcome()
    let main = Worker("appender") {
      outcome.thread = pthread_self()
      outcome.isReady = true
      outcome.result = Int(write(file, "line\n", 5))
      outcome.error = errno
    }
    while !outcome.isReady { usleep(1_000) }
    for _ in 0..<10 {
      usleep(50_000)
      pthread_kill(outcome.thread, SIGUSR1)
    }
    share.reconnect()
    main.join()
    close(file)
    #expect(outcome.result == 5, "\(outcome.error)")
    #expect(readAll(share.exported.path.string + "/f") == Array("Aline\n".utf8))
  }

  @Test func `a mount answers at once after many links and replacements at a time`() async throws {
    let share = try await MountedShare()
    let (there, here) = (share.exported.path.string, share.path.string)
    Self.fill(there + "/a", 65, 1)
    link(there + "/a", there + "/a2")
    var status = stat()
    stat(here + "/a", &status)
    stat(here + "/a2", &status)
    let isOver = Flag()
    let replacer = Worker("replacer") {
      while !isOver.isSet {
        Self.fill(there + "/t", 66, 1)
        rename(there + "/t", there + "/c")
      }
    }
    let opener = Worker("opener") {
      while !isOver.isSet { close(open(here + "/c", O_RDONLY)) }
    }
    let start = Instant.now
    var count = 0
    while Instant.now.seconds(since: start) < 3 {
      #expect(link(here + "/a", here + "/b") == 0)
      #expect(unlink(here + "/b") == 0)
      count += 1
    }
    isOver.set()
    replacer.join()
    opener.join()
    #expect(count > 10)
  }
}

/// What one thread tells another. Written by the one, read by the other after `isReady`, or after it has ended.
private final class Outcome: @unchecked Sendable {
  var thread = pthread_t()
  var isReady = false
  var result = 0
  var error: Int32 = 0
}

private final class Flag: Sendable {
  private let value = Atomic(false)

  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

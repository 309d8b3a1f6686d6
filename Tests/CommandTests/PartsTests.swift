import P2PFSCore
import Glibc
import Rig
import P2PFSSignaling
import SystemPackage
import Testing

@testable import p2pfs

/// The small parts of the command line.
@Suite struct PartsTests {
  @Test(
    arguments: [
      ("abc", 3), ("", 0), ("日本", 4), ("e\u{301}", 1), ("👍", 2), ("❤\u{fe0f}", 2), ("ｆ", 2), ("ﾊ", 1),
    ])
  func `the columns of a text are known`(_ text: String, _ columns: Int) {
    #expect(Columns.of(text) == columns)
  }

  @Test func `a text is cut to columns, never within a wide letter`() {
    #expect(Columns.prefix("日本語", 5) == "日本")
    #expect(Columns.prefix("abc", 0) == "")
    #expect(Columns.prefix("abc", 9) == "abc")
  }

  @Test func `lines come through a socket as they were, line breaks and bytes that are no UTF-8 included`() {
    var pair: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    let lines = ["", "say a\nb", String(pathBytes: [0x66, 0xff, 0x0a]), String(repeating: "x", count: 60_000)]
    let writer = LineStream(pair[0])
    var reader = LineStream(pair[1])
    for line in lines {
      writer.write(line)
      #expect(reader.next() == line)
    }
    close(pair[0])
    #expect(reader.next() == nil)
    close(pair[1])
  }

  @Test func `a line without end is not read for ever`() {
    var pair: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    let end = pair[0]
    let writer = Worker("writer") {
      let bytes = [UInt8](repeating: 0x78, count: 100_000)
      _ = send(end, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
    var reader = LineStream(pair[1])
    #expect(reader.next() == nil)
    close(pair[1])
    writer.join()
    close(end)
  }

  @Test func `a mount point is an absolute path without links, and nothing there is asked`() throws {
    let place = try TemporaryDirectory()
    let base = place.path.string
    mkdir(base + "/real", 0o755)
    mkdir(base + "/real/mnt", 0o755)
    symlink(base + "/real", base + "/link")
    symlink("real/mnt", base + "/direct")
    let real = try MountPoint(base + "/real/mnt").path
    #expect(real.hasSuffix("/real/mnt"))
    for text in ["/link/mnt", "/link/./x/../mnt/", "//real///mnt", "/direct"] {
      #expect(try MountPoint(base + text).path == real, "\(text)")
    }
    #expect(try MountPoint("/").path == "/" && MountPoint("/..").path == "/")
    #expect(throws: Failure.self) { try MountPoint(base + "/none/mnt") }
    #expect(try !MountPoint(base + "/real/mnt").isMounted && MountPoint("/proc").isMounted)
    #expect(try !MountPoint("/proc").isP2PFS)
  }

  @Test func `the signaling server of the flag wins over that of the code`() throws {
    let code = try ServerAddress(parsing: "code.example.org")
    #expect(try Settings.server(flag: "flag.example.org:1", code: code)?.host == "flag.example.org")
    #expect(try Settings.server(flag: nil, code: code) == code)
    let failure = try #require(throws: Failure.self) { try Settings.server(flag: "http://x", code: code) }
    #expect(failure.status == .usage && failure.message.hasPrefix("--signal: A signaling server's URL begins with"))
  }

  @Test(arguments: [
    ("plain-1.5:/x@y", "plain-1.5:/x@y"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$x", "'$x'"),
  ])
  func `words can be pasted into a shell`(_ word: String, _ quoted: String) {
    #expect(Shell.quoted(word) == quoted)
  }

  @Test func `bytes and times are told in units that are read`() {
    #expect(
      Progress.bytes(999) == "999 B" && Progress.bytes(1_250_000) == "1.3 MB" && Progress.bytes(45_000_000) == "45 MB")
    #expect(
      Progress.duration(0.42) == "0.4 s" && Progress.duration(61) == "61 s" && Progress.duration(7260) == "2 h 1 min")
    #expect(Progress.line(done: 50, total: 100, rate: 0, doing: "f", columns: 80).hasPrefix("50 B of 100 B  50%"))
    #expect(Columns.of(Progress.line(done: 5, total: 9, rate: 99, doing: "日本語日本語", columns: 30)) < 30)
  }

  @Test func `the users of a place are processes of this computer, by the bytes of their paths`() throws {
    let place = try TemporaryDirectory()
    let path = String(pathBytes: Array((place.path.string + "/m").utf8) + [0xff])
    #expect(path.withPath { mkdir($0, 0o755) } == 0)
    #expect(MountUsers.of(path).isEmpty)
    var process: pid_t = 0
    let words: [String] = ["sh", "-c", "cd \"$1\" && exec sleep 60", "sh", path]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { word in word.withPath { strdup($0) } } + [nil]
    defer { for argument in arguments { free(argument) } }
    let isStarted = posix_spawnp(&process, "sh", nil, nil, &arguments, environ) == 0
    try #require(isStarted)
    defer {
      kill(process, SIGKILL)
      var status: Int32 = 0
      waitpid(process, &status, 0)
    }
    var users: [String] = []
    for _ in 0..<100 where users.first?.hasPrefix("sleep") != true {
      usleep(20_000)
      users = MountUsers.of(path)
    }
    #expect(users == ["sleep (\(process))"])
    #expect(MountUsers.of(path + "x").isEmpty)
  }
}

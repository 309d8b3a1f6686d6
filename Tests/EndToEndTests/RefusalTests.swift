import Rig
import Glibc
import Testing

extension EndToEnd {
  /// Whatever is wrong is said at once, with its exit status.
  @Suite struct Refusals {
    @Test(
      arguments: [
        ["frobnicate"], ["mount"], ["mount", "123456-lusab-babad"], ["export"], ["umount"],
        ["mount", "--frobnicate"],
        ["mount", "not a code", "mnt"], ["mount", "123456-lusab-babad:no/slash", "mnt"],
        ["mount", "12345-lusab", "mnt"],
        ["mount", "123456-lusab-babad@http://localhost", "mnt"], ["signal", "--listen", "nonsense:x"],
      ])
    func `a wrong command line is refused with exit status 2`(_ arguments: [String]) throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        let outcome = try b.startP2PFS(arguments).wait(seconds: 10)
        #expect(outcome.status == 2, "\(outcome)")
        #expect(!outcome.errors.isEmpty)
      }
    }

    @Test func `help and version are no errors`() throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        #expect(try b.p2pfs("--help").output.contains("mount"))
        for arguments in [["--help"], ["--version"], ["mount", "--help"], ["export", "-h"], ["signal", "--help"]] {
          let outcome = try b.startP2PFS(arguments).wait(seconds: 10)
          #expect(outcome.status == 0 && !outcome.output.isEmpty, "\(arguments)")
        }
      }
    }

    @Test func `what cannot be exported or mounted on is refused`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("touch file")
        #expect(try a.p2pfs("export", "nowhere").status == 1)
        #expect(try a.p2pfs("export", "file").status == 1)
        let exporter = try a.export(a.makeDirectory("export"))
        try b.shell("touch file")
        for point in ["nowhere", "file"] {
          let outcome = try b.p2pfs("mount", exporter.code, point)
          #expect(outcome.status == 7 && outcome.errors.contains(point), "\(outcome)")
        }
        #expect(try b.p2pfs("mount", exporter.code, b.makeDirectory("mnt"), "-o", "frobnicate").status == 2)
        #expect(try b.p2pfs("umount", b.makeDirectory("mnt")).status == 1)
      }
    }

    @Test func `a wrong code is refused, and the exporter is warned`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.makeDirectory("export"))
        let outcome = try b.p2pfs("mount", exporter.wrongCode, b.makeDirectory("mnt"), seconds: 15)
        #expect(outcome.status == 5, "\(outcome)")
        #expect(outcome.errors.contains("wrong code"))
        #expect(try exporter.child.line(with: "wrong code", seconds: 5).contains("9"))
        #expect(!b.isMounted(b.home + "/mnt"))
        _ = try b.mount(exporter.code)
        #expect(exporter.codes.count == 1)
      }
    }

    @Test func `ten wrong codes bring a new one, and mounts go on`() throws {
      try EndToEnd.pair { pair in
        let c = try pair.stage.computer("c")
        let (old, wrong) = (pair.exporter.code, pair.exporter.wrongCode)
        for _ in 1...10 {
          let outcome = try c.p2pfs("mount", wrong, c.makeDirectory("mnt"), seconds: 20)
          #expect(outcome.status == 5, "\(outcome)")
        }
        #expect(eventually(within: 10) { pair.exporter.codes.count == 2 })
        #expect(pair.exporter.code != old)
        try pair.guest("echo still > \"$M/here\"; cat \"$M/here\"")
        #expect(contents(of: pair.export + "/here") == "still\n")
        let spent = try c.p2pfs("mount", old, c.makeDirectory("mnt"), seconds: 20)
        #expect(spent.status == 4 || spent.status == 5, "\(spent)")
        _ = try c.mount(pair.exporter.code)
      }
    }

    @Test func `nobody in the room is said at once`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.makeDirectory("export"))
        let outcome = try b.p2pfs("mount", exporter.codeOfEmptyRoom, b.makeDirectory("mnt"), seconds: 5)
        #expect(outcome.status == 4, "\(outcome)")
      }
    }

    @Test func `no signaling server is said within five seconds`() throws {
      try Stage.run(hasNetwork: false) { stage in
        let b = try stage.computer("b")
        let closed = try b.p2pfs("mount", "123456-lusab-babad@127.0.0.1:1", b.makeDirectory("mnt"), seconds: 8)
        #expect(closed.status == 3, "\(closed)")
        // A server that takes the connection and never says a word.
        let mute = try MuteServer()
        let outcome = try b.p2pfs("mount", "123456-lusab-babad@127.0.0.1:\(mute.port)", b.home + "/mnt", seconds: 8)
        #expect(outcome.status == 3, "\(outcome)")
        #expect(outcome.errors.contains("127.0.0.1"))
        let export = try b.p2pfs("export", b.home, "--signal", "ws://127.0.0.1:\(mute.port)", seconds: 8)
        #expect(export.status == 3, "\(export)")
      }
    }

    @Test func `Ctrl-C while mounting leaves nothing and says 130`() throws {
      try Stage.run(hasNetwork: false) { stage in
        let b = try stage.computer("b")
        let mute = try MuteServer()
        let mount = try b.startP2PFS(["mount", "123456-lusab-babad@127.0.0.1:\(mute.port)", b.makeDirectory("mnt")])
        usleep(500_000)
        mount.signal(SIGINT)
        #expect(try mount.wait(seconds: 5).status == 130)
      }
    }
  }
}

/// A TCP server on loopback whose backlog takes connections that nobody ever answers.
private final class MuteServer {
  let port: UInt16
  private let socket: Int32

  init() throws {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = socket
    let done = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(descriptor, address, length) == 0 && listen(descriptor, 16) == 0
          && getsockname(descriptor, address, &length) == 0
      }
    }
    guard done else { throw StageError("cannot listen on loopback") }
    port = UInt16(bigEndian: address.sin_port)
  }

  deinit { close(socket) }
}

import CP2PFSLinux
import Rig
import P2PFSCore
import Glibc
import Testing

extension EndToEnd {
  /// What the program says at a terminal and to a script, and what it forgives.
  @Suite struct CommandLine {
    private static let signal = "ws://127.0.0.1:41987"

    /// Starts a signaling server of its own, so that no test depends on which ports are free.
    private func startSignal(_ computer: Computer) throws {
      let server = try computer.startP2PFS(["signal", "--listen", "127.0.0.1:41987"])
      _ = try server.line(with: "Signaling at", seconds: 10)
    }

    /// The code in the command that `child` shows.
    private func code(_ child: Child, _ mark: String) throws -> String {
      let words = try child.line(with: mark, seconds: 20).split(separator: " ").map(String.init)
      return try #require(words.first { $0.contains("@") }, "\(words)")
    }

    /// A command on a terminal of its own, whose user types nothing.
    private func onTerminal(_ computer: Computer, _ arguments: [String], seconds: Int = 30) throws -> Child {
      let command = ([Stage.program] + arguments).map { "'\($0)'" }.joined(separator: " ")
      return try computer.start(
        ["bash", "-c", "sleep \(seconds) | script -qec \"$COMMAND\" /dev/null"],
        environment: [
          "COMMAND": command
        ])
    }

    @Test func `umount of a mount in use says that it is busy, and by whom; lazily it goes`() throws {
      try EndToEnd.pair { pair in
        let user = try pair.start("cd \"$M\"; exec sleep 60")
        #expect(
          eventually(within: 5) {
            (try? pair.b.run(["readlink", "/proc/\(user.pid)/cwd"]).output.contains("mnt")) ?? false
          })
        let busy = try pair.b.p2pfs("umount", pair.mounted.point)
        #expect(busy.status == 1 && busy.errors.contains("target is busy, used by sleep ("), "\(busy)")
        #expect(busy.errors.contains("--lazy") && pair.b.isMounted(pair.mounted.point))
        user.signal(SIGKILL)
        _ = try user.wait(seconds: 5)
        // A user that has no process.
        try pair.guest("mkdir \"$M/inner\"; mount -t tmpfs none \"$M/inner\"")
        let inside = try pair.b.p2pfs("umount", pair.mounted.point)
        #expect(inside.status == 1 && inside.errors.contains("target is busy."), "\(inside)")
        try pair.guest("umount \"$M/inner\"; echo still > \"$M/f\"")
        let other = try pair.start("cd \"$M\"; exec sleep 60")
        #expect(try pair.b.p2pfs("unmount", "--lazy", pair.mounted.point).status == 0)
        #expect(!pair.b.isMounted(pair.mounted.point))
        other.signal(SIGKILL)
        #expect(contents(of: pair.export + "/f") == "still\n")
      }
    }

    @Test func `with --quiet only what a script needs is printed`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try startSignal(a)
        let exporter = try Exporter(
          a.startP2PFS(["export", a.makeDirectory("export"), "-q", "--signal", Self.signal]))
        #expect(exporter.child.output == "p2pfs mount \(exporter.code) ~/mnt\n")
        let mounted = try b.mount(exporter.code, on: "mnt", ["-q"])
        #expect(mounted.message == "")
        let umount = try b.p2pfs("umount", mounted.point)
        #expect(umount.status == 0 && umount.output + umount.errors == "")
        try b.shell("mkdir in; echo x > f")
        let receive = try b.startP2PFS(["receive", "-q", "-y", "--into", "in", "--signal", Self.signal])
        let its = try code(receive, "p2pfs send --to")
        let send = try b.p2pfs("send", "-q", "f", "--to", its)
        #expect(send.status == 0 && send.output + send.errors == "", "\(send)")
        let received = try receive.wait(seconds: 10)
        #expect(received.status == 0 && received.output == "p2pfs send --to \(its) PATH\n", "\(received)")
        #expect(received.errors == "" && exporter.child.errors == "")
      }
    }

    @Test func `the exporter says who comes and goes, and a mount where it comes from`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try startSignal(a)
        let export = a.makeDirectory("export")
        try a.shell("mkdir -p 'export/a b'; touch export/file")
        let exporter = try a.export(export, "--signal", Self.signal)
        let mounted = try b.mount(exporter.code(path: "/a b"))
        #expect(
          try exporter.child.line(with: " has come: direct", seconds: 5).contains("  A guest from 127.0.0.1 has come"))
        #expect(exporter.child.errors.contains(#/20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  A guest/#))
        #expect(
          try b.shell("findmnt -no SOURCE \"$M\"; df --output=source \"$M\"", ["M": mounted.point])
            .contains("p2pfs:127.0.0.1:/a b"))
        let named = try b.mount(exporter.code, on: "named", ["-oro,fsname=mine"])
        #expect(try b.shell("findmnt -rno SOURCE,OPTIONS \"$M\"", ["M": named.point]).hasPrefix("mine ro,"))
        try b.unmount(mounted)
        _ = try exporter.child.line(with: "A guest from 127.0.0.1 has left.", seconds: 5)
        let onFile = try b.p2pfs("mount", exporter.code(path: "/file"), b.makeDirectory("other"))
        #expect(onFile.status == 7 && onFile.errors.contains("\":/file\" is a file on the other computer"), "\(onFile)")
        // The same folder a second time.
        let second = try a.export(export, "--signal", Self.signal)
        let code = exporter.code.split(separator: "@")[0]
        #expect(try second.child.line(with: "Another p2pfs export", seconds: 5).contains("with the code \(code)."))
        #expect(second.code != exporter.code)
      }
    }

    @Test func `a code is taken as it was typed, dictated or pasted`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try startSignal(a)
        let exporter = try a.export(a.makeDirectory("export"), "--signal", Self.signal)
        let words = exporter.code.split(separator: "-").map(String.init)
        try #require(words.count == 3)
        let point = b.makeDirectory("mnt")
        for given in [words, [words.joined(separator: "–").uppercased()], ["“\(words.joined(separator: " "))”"]] {
          let code = given.map { $0.replacing("@WS://", with: "@ws://") }
          let outcome = try b.startP2PFS(["mount"] + code + [point]).wait(seconds: 20)
          #expect(outcome.status == 0, "\(code): \(outcome)")
          // Nor does it stand in the list of processes.
          #expect(b.programs.allSatisfy { !$0.arguments.joined().lowercased().contains(words[1]) }, "\(b.programs)")
          #expect(try b.p2pfs("umount", point).status == 0)
        }
        let fromVariable = try b.p2pfs(
          "mount", point, environment: ["P2PFS_CODE": words.joined(separator: " ")])
        #expect(fromVariable.status == 0, "\(fromVariable)")
      }
    }

    @Test func `a folder that its user may not read is refused at once`() throws {
      try User.make { user in
        try Stage.run { stage in
          let (a, root) = (try stage.computer("a", user: user), try stage.computer("root"))
          let closed = root.makeDirectory("closed")
          chmod(closed, 0o700)
          let outcome = try a.p2pfs("export", closed, seconds: 10)
          #expect(outcome.status == 1 && outcome.errors.contains("may not read"), "\(outcome)")
        }
      }
    }

    @Test func `who waits at a terminal is told what for`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try startSignal(a)
        let mount = try onTerminal(b, ["mount", "--wait", "123456-lusab-babad@\(Self.signal)", b.makeDirectory("mnt")])
        _ = try mount.line(with: "Still trying: waiting for the other computer to come", seconds: 10)
        mount.signal(SIGKILL)
        // The receiver's user is asked, and says nothing.
        try a.shell("echo x > f")
        try b.shell("mkdir in")
        let send = try onTerminal(a, ["send", "f", "--signal", Self.signal])
        let receive = try onTerminal(b, ["receive", try code(send, "p2pfs receive"), "--into", "in"])
        _ = try receive.line(with: "[y/N]", seconds: 20)
        _ = try send.line(with: "Waiting for the other computer's user to agree", seconds: 10)
        for child in [send, receive] {
          child.signal(SIGINT)
          child.signal(SIGKILL)
        }
        for computer in [a, b] {
          for program in computer.programs where !program.arguments.contains("signal") { kill(program.pid, SIGKILL) }
        }
      }
    }

    @Test func `a side that shows a code shows the same after it was killed, until all is there`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try startSignal(a)
        try a.shell("mkdir t; head -c 200000000 /dev/urandom > t/a")
        try b.shell("mkdir in")
        let part = b.home + "/in/t/.a.p2pfs-part"
        func send() throws -> Child {
          try a.startP2PFS(["send", "t", "-v", "--timeout", "2", "--signal", Self.signal])
        }
        func receive(_ code: String) throws -> Child {
          try b.startP2PFS(["receive", code, "--into", "in", "-y", "--timeout", "2"])
        }
        // Killed before anybody came.
        let first = try send()
        let shown = try code(first, "p2pfs receive")
        first.stop()
        // Killed in the middle: the other side ends, in words.
        let second = try send()
        #expect(try code(second, "p2pfs receive") == shown)
        let interrupted = try receive(shown)
        #expect(eventually(within: 20) { fileSize(part) > 5_000_000 })
        second.stop()
        let outcome = try interrupted.wait(seconds: 20)
        #expect(outcome.status == 4 && outcome.errors.contains("the same commands go on"), "\(outcome)")
        // The other side is the first to run its command again.
        let again = try receive(shown)
        _ = try again.line(with: "waiting", seconds: 20)
        let third = try send()
        let (received, sent) = (try again.wait(seconds: 40), try third.wait(seconds: 20))
        #expect(received.status == 0 && sent.status == 0, "\(received) \(sent)")
        #expect(received.errors.contains("of it there before") && sent.errors.contains("of it there before"))
        #expect(try a.shell("sha256sum < t/a") == b.shell("sha256sum < in/t/a"))
        // It is done: the code is not used again.
        let fourth = try send()
        #expect(try code(fourth, "p2pfs receive") != shown)
      }
    }
  }
}

/// The size of a local file; -1 if there is none.
private func fileSize(_ path: String) -> Int64 {
  var status = stat()
  return stat(path, &status) == 0 ? Int64(status.st_size) : -1
}

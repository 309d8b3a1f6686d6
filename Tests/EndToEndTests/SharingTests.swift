import Rig
import Glibc
import Testing

extension EndToEnd {
  /// The ways in which a folder is shared and mounted.
  @Suite struct Sharing {
    @Test func `mount says how the peer is reached and how far it is`() throws {
      try EndToEnd.pair { pair in
        #expect(pair.mounted.message.contains("Mounted on \(pair.mounted.point): direct, "))
        #expect(pair.mounted.message.contains(" ms"))
        #expect(pair.exporter.child.output.contains("Sharing \(pair.export) (read and write)"))
      }
    }

    @Test func `a mount is never setuid and never a device`() throws {
      try EndToEnd.pair { pair in
        let line = contents(of: "/proc/self/mounts").split(separator: "\n").first { $0.contains(pair.mounted.point) }
        #expect(line?.contains("nosuid") == true && line?.contains("nodev") == true)
      }
    }

    @Test(arguments: [["--read-only"], []])
    func `a read-only share refuses every change and can be copied`(_ export: [String]) throws {
      let mount = export.isEmpty ? ["--read-only"] : []
      try EndToEnd.pair(export: export, mount: mount) { a, export in
        try a.shell("echo x > \"$E/f\"; mkdir \"$E/d\"", ["E": export])
      } _: { pair in
        let attempts = [
          "touch \"$M/new\"", "echo y > \"$M/f\"", "rm \"$M/f\"", "mkdir \"$M/e\"", "rmdir \"$M/d\"",
          "mv \"$M/f\" \"$M/g\"",
          "ln \"$M/f\" \"$M/h\"", "ln -s f \"$M/s\"", "truncate -s 0 \"$M/f\"", "chmod 777 \"$M/f\"",
        ]
        for attempt in attempts {
          let told = try pair.failure(of: attempt)
          #expect(told.contains("Read-only file system"), "\(attempt): \(told)")
        }
        #expect(try pair.guest("cp -r \"$M\" copy; cat copy/f") == "x\n")
        #expect(try pair.host("find \"$E\" | wc -l; cat \"$E/f\"") == "3\nx\n")
      }
    }

    @Test func `a path behind the code mounts a part of the share`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let export = a.makeDirectory("export")
        try a.shell(
          "mkdir -p \"$E/photos/2024\"; echo pic > \"$E/photos/2024/p\"; echo no > \"$E/secret\"", ["E": export])
        let exporter = try a.export(export)
        let mounted = try b.mount(exporter.code(path: "/photos/2024"))
        #expect(try b.shell("ls \"$M\"; cat \"$M/p\"; echo new > \"$M/q\"", ["M": mounted.point]) == "p\npic\n")
        #expect(contents(of: export + "/photos/2024/q") == "new\n")
        let missing = try b.p2pfs("mount", exporter.code(path: "/nowhere"), b.makeDirectory("other"))
        #expect(missing.status != 0 && missing.errors.contains("No such file"))
      }
    }

    @Test func `two guests work in one share at once`() throws {
      try EndToEnd.pair { pair in
        let c = try pair.stage.computer("c")
        let second = try c.mount(pair.exporter.code)
        let one = try pair.start(
          "for i in {1..100}; do echo one > \"$M/one$i\"; done; head -c 5000000 /dev/urandom > \"$M/r1\"")
        try c.shell(
          "for i in {1..100}; do echo two > \"$M/two$i\"; done; head -c 5000000 /dev/urandom > \"$M/r2\"",
          ["M": second.point])
        #expect(try one.wait(seconds: 60).status == 0)
        #expect(try pair.host("cat \"$E\"/one* \"$E\"/two* | sort | uniq -c | tr -d ' '") == "100one\n100two\n")
        try pair.guest("cp \"$M/r2\" .; cmp r2 \"$E/r2\"")
        try c.unmount(second)
        try pair.guest("cp \"$M/r1\" .; cmp r1 \"$E/r1\"")
      }
    }

    @Test func `each side mounts the other's folder over one session`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let (export, back) = (a.makeDirectory("export"), b.makeDirectory("back"))
        let (mountA, mountB) = (a.makeDirectory("mnt"), b.makeDirectory("mnt"))
        try a.shell("echo from a > \"$E/a\"", ["E": export])
        try b.shell("echo from b > \"$E/b\"", ["E": back])
        let exporter = try a.export(export, "--mount", mountA)
        let outcome = try b.p2pfs("mount", exporter.code, mountB, "--export", back)
        #expect(outcome.status == 0, "\(outcome)")
        #expect(eventually(within: 10) { a.isMounted(mountA) })
        #expect(try b.shell("cat \"$M/a\"; echo to a > \"$M/c\"", ["M": mountB]) == "from a\n")
        #expect(try a.shell("cat \"$M/b\"; echo to b > \"$M/d\"", ["M": mountA]) == "from b\n")
        #expect(contents(of: export + "/c") == "to a\n" && contents(of: back + "/d") == "to b\n")
        try b.shell("head -c 3000000 /dev/urandom > \"$M/r\"; cp \"$M/r\" r", ["M": mountB])
        try a.shell("cmp \"$E/r\" ../b/r", ["E": export])
        #expect(try b.p2pfs("umount", mountB).status == 0)
      }
    }

    @Test func `an export that contains the mount point is never entered twice`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let export = a.makeDirectory("export")
        let point = export + "/inside"
        try a.shell("mkdir \"$E/inside\"; echo f > \"$E/f\"; ln -s inside/f \"$E/link\"", ["E": export])
        let exporter = try a.export(export)
        let outcome = try b.p2pfs("mount", exporter.code, point)
        #expect(outcome.status == 0, "\(outcome)")
        let variables = ["M": point]
        #expect(try b.shell("cat \"$M/f\"; echo g > \"$M/g\"; cat \"$M/g\"", variables, seconds: 20) == "f\ng\n")
        // What lies behind our own mount point is not served: an error or the empty directory below, soon.
        let walk = try b.run(["find", point, "-mindepth", "2"], seconds: 20)
        #expect(walk.output.isEmpty)
        _ = try b.run(["ls", "-l", point + "/inside", point + "/link/"], seconds: 20)
        #expect(try b.p2pfs("umount", point).status == 0)
      }
    }

    @Test func `the code may come from the environment`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.makeDirectory("export"))
        let point = b.makeDirectory("mnt")
        let outcome = try b.p2pfs("mount", point, environment: ["P2PFS_CODE": exporter.code])
        #expect(outcome.status == 0 && b.isMounted(point), "\(outcome)")
        let lines = b.programs.map { $0.arguments.joined(separator: " ") }
        let secret = exporter.code.split(separator: "@")[0].split(separator: "-").dropFirst().joined(separator: "-")
        #expect(!lines.isEmpty && lines.allSatisfy { !$0.contains(secret) }, "no process shows the code")
      }
    }

    @Test func `in front, mount stays until Ctrl-C and then unmounts`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.makeDirectory("export"))
        let point = b.makeDirectory("mnt")
        let mount = try b.startP2PFS(["mount", "-f", exporter.code, point])
        _ = try mount.line(with: "Mounted on ", seconds: 20)
        try b.shell("echo x > \"$M/f\"", ["M": point])
        mount.signal(SIGINT)
        let status = try mount.wait(seconds: 15).status
        #expect(status == 0 || status == 130)
        #expect(!b.isMounted(point))
      }
    }

    @Test func `an export for one guest ends when that guest leaves`() throws {
      try EndToEnd.pair(export: ["--once"]) { pair in
        try pair.guest("echo x > \"$M/f\"")
        try pair.b.unmount(pair.mounted)
        #expect(try pair.exporter.child.wait(seconds: 20).status == 0)
        #expect(contents(of: pair.export + "/f") == "x\n")
      }
    }

    @Test func `an export that is started again takes the same code`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let server = try a.startP2PFS(["signal", "--listen", "127.0.0.1:21985"])
        let export = a.makeDirectory("export")
        #expect(eventually(within: 10) { a.isListening(port: 21985) }, "\(server.lines)")
        let first = try a.export(export, "--signal", "ws://127.0.0.1:21985")
        let code = first.code
        first.child.stop()
        let second = try a.export(export, "--signal", "ws://127.0.0.1:21985")
        #expect(second.code == code)
        _ = try b.mount(code)
      }
    }

    @Test func `Ctrl-C on an export leaves nothing behind`() throws {
      try EndToEnd.pair { pair in
        try pair.b.unmount(pair.mounted)
        let status = try pair.exporter.interrupt()
        #expect(status == 0 || status == 130)
        #expect(eventually(within: 5) { pair.a.programs.isEmpty })
      }
    }

    @Test func `a code that was chosen is taken`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.makeDirectory("export"), "--code", "314159-lusab-babad")
        #expect(exporter.code.hasPrefix("314159-lusab-babad"))
        _ = try b.mount(exporter.code)
      }
    }
  }
}

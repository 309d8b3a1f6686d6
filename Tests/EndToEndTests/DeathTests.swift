import Rig
import P2PFSCore
import Glibc
import Testing

extension EndToEnd {
  /// Either side dies or falls silent.
  @Suite struct Deaths {
    @Test func `umount clears the mount point of a daemon that was killed`() throws {
      try EndToEnd.pair { pair in
        for process in pair.b.programs { kill(process.pid, SIGKILL) }
        #expect(eventually(within: 5) { pair.b.programs.isEmpty })
        #expect(pair.b.isMounted(pair.mounted.point))
        #expect(try pair.b.p2pfs("umount", pair.mounted.point).status == 0)
        #expect(!pair.b.isMounted(pair.mounted.point))
        _ = try pair.b.mount(pair.exporter.code)
        try pair.guest("echo again > \"$M/f\"")
      }
    }

    @Test func `the exporter is killed: operations fail, nothing hangs, umount works`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=5"]) { a, export in
        try a.shell("head -c 30000000 /dev/urandom > \"$E/big\"; echo x > \"$E/small\"", ["E": export])
      } _: { pair in
        pair.exporter.child.stop()
        let reader = try pair.start("exec cat \"$M/big\" > /dev/null")
        let error = try reader.wait(seconds: 30)
        #expect(error.status != 0)
        #expect(
          error.errors.contains("Input/output error") || error.errors.contains("not connected"), "\(error)")
        let later = try pair.b.run(["ls", pair.mounted.point], seconds: 5)
        #expect(later.status != 0, "fails at once by now: \(later)")
        let outcome = try pair.b.p2pfs("umount", pair.mounted.point, seconds: 20)
        #expect(outcome.status == 0, "nothing is lost: \(outcome)")
        #expect(!pair.b.isMounted(pair.mounted.point))
      }
    }

    @Test func `a killed reader is gone at once, though the exporter does not answer`() throws {
      try EndToEnd.pair { a, export in
        try a.shell("head -c 30000000 /dev/urandom > \"$E/big\"", ["E": export])
      } _: { pair in
        pair.exporter.child.signal(SIGSTOP)
        defer { pair.exporter.child.signal(SIGCONT) }
        for program in ["cat \"$M/big\" > /dev/null", "ls -l \"$M\"", "echo y > \"$M/new\""] {
          let child = try pair.start("exec bash -c '\(program)'")
          usleep(700_000)
          #expect(child.isRunning, "\(program): the exporter is stopped, what does it know?")
          let start = Instant.now
          child.stop()
          #expect(child.poll() == -SIGKILL)
          // Half a second is promised; the rest is for a busy test machine.
          #expect(Instant.now.seconds(since: start) < 2, "\(program)")
        }
      }
    }

    @Test func `who waits for a directory's lock is killed at once, and whoever has it gets its own result`() throws {
      // A change that waits for the exporter, what it leaves, and a program that waits for the lock meanwhile.
      let cases = [
        ("mkdir \"$M/d/new\"", "test -d \"$E/d/new\"", "touch \"$M/d/b\""),
        ("rm \"$M/d/old\"", "test ! -e \"$E/d/old\"", "mkdir \"$M/d/b\""),
        ("mv \"$M/d/from\" \"$M/d/to\"", "test -e \"$E/d/to\" -a ! -e \"$E/d/from\"", "rm \"$M/d/kept\""),
        ("echo x > \"$M/d/made\"", "grep -qx x \"$E/d/made\"", "ls \"$M/d/unknown\""),
        ("mkdir \"$M/d/other\"", "test -d \"$E/d/other\"", "mv \"$M/d/kept\" \"$M/d/b\""),
      ]
      try EndToEnd.pair { pair in
        try pair.guest("mkdir \"$M/d\"; for f in old from kept; do echo x > \"$M/d/$f\"; done; ls -l \"$M/d\"")
        for (index, (change, result, other)) in cases.enumerated() {
          pair.exporter.child.signal(SIGSTOP)
          defer { pair.exporter.child.signal(SIGCONT) }
          let first = try pair.start(change)
          usleep(400_000)
          let second = try pair.start("exec env --default-signal=INT \(other)")
          usleep(600_000)
          #expect(second.isRunning, "\(other)")
          // Ctrl-C ends a program that does not care for it just so.
          second.signal(index == 0 ? SIGINT : SIGKILL)
          #expect(eventually(within: 3) { !second.isRunning }, "\(other)")
          #expect(first.isRunning, "\(change)")
          usleep(300_000)
          pair.exporter.child.signal(SIGCONT)
          let outcome = try first.wait(seconds: 20)
          #expect(outcome.status == 0, "\(change): \(outcome)")
          try pair.host(result)
          try pair.host("test -e \"$E/d/kept\"")
        }
      }
    }

    @Test func `what the exporter did not get is named by umount`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { pair in
        try pair.guest("echo ok > \"$M/first\"")
        pair.exporter.child.signal(SIGSTOP)
        let writer = try pair.start("exec dd if=/dev/zero of=\"$M/first\" bs=100000 count=5 conv=notrunc")
        usleep(1_000_000)
        pair.exporter.child.stop()
        #expect(eventually(within: 15) { !pair.b.programs.isEmpty })
        // The writer uses it: that takes the word of its user.
        let busy = try pair.b.p2pfs("umount", pair.mounted.point, seconds: 40)
        #expect(busy.status == 1 && busy.errors.contains("target is busy") && pair.b.isMounted(pair.mounted.point))
        let outcome = try pair.b.p2pfs("umount", "--lazy", pair.mounted.point, seconds: 40)
        #expect(!pair.b.isMounted(pair.mounted.point))
        let wrote = try writer.wait(seconds: 20)
        // Either the writer was told, or umount tells.
        #expect(wrote.status != 0 || (outcome.status != 0 && outcome.errors.contains("first")), "\(wrote) \(outcome)")
      }
    }

    @Test func `a guest that vanishes does not disturb the others`() throws {
      try EndToEnd.pair { pair in
        let c = try pair.stage.computer("c")
        let other = try c.mount(pair.exporter.code)
        for process in c.programs { kill(process.pid, SIGKILL) }
        try pair.guest("for i in {1..50}; do echo $i > \"$M/f$i\"; done; cat \"$M\"/f* > /dev/null")
        #expect(try c.p2pfs("umount", other.point).status == 0)
        _ = try c.mount(pair.exporter.code)
      }
    }

    @Test func `the exporter pauses, and the copy goes on`() throws {
      try EndToEnd.pair { pair in
        let copy = try pair.start("head -c 40000000 /dev/urandom > r; cp r \"$M/r\"; cmp r \"$E/r\"")
        #expect(eventually(within: 20) { access(pair.export + "/r", F_OK) == 0 })
        pair.exporter.child.signal(SIGSTOP)
        usleep(3_000_000)
        pair.exporter.child.signal(SIGCONT)
        #expect(try copy.wait(seconds: 60).status == 0)
      }
    }
  }
}

import Rig
import P2PFSCore
import Glibc
import Testing

extension EndToEnd {
  /// The exporter dies, and is started again as a service manager would: what programs have open goes on.
  @Suite struct Restarts {
    /// Ends the exporter by a signal and starts it again, some times while a script runs.
    private func restart(
      _ pair: Pair, _ times: Int, by signal: Int32 = SIGKILL, during script: Child, options: [String] = []
    ) throws {
      var exporter = pair.exporter
      for _ in 0..<times {
        usleep(1_200_000)
        exporter.child.signal(signal)
        _ = try? exporter.child.wait(seconds: 10)
        exporter = try Exporter(pair.a.startP2PFS(["export", pair.export] + options))
        #expect(exporter.code == pair.exporter.code)
      }
      let outcome = try script.wait(seconds: 120)
      #expect(outcome.status == 0, "\(outcome)")
    }

    @Test(arguments: [SIGKILL, SIGTERM]) func `copies, appends and renames go on`(_ signal: Int32) throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { a, export in
        try a.shell("head -c 60000000 /dev/urandom > \"$E/out\"", ["E": export])
      } _: { pair in
        let script = try pair.start(
          """
          head -c 60000000 /dev/urandom > in
          cp in "$M/in" & one=$!
          cp "$M/out" out & two=$!
          (for i in {1..300}; do echo "line $i" >> "$M/lines"; sleep 0.01; done) & three=$!
          (mkdir "$M/d"; echo moving > "$M/d/0"
          for i in {1..300}; do mv "$M/d/$((i - 1))" "$M/d/$i"; sleep 0.01; done) & four=$!
          wait $one; wait $two; wait $three; wait $four
          cmp in "$E/in"; cmp out "$E/out"
          seq -f 'line %g' 300 | cmp - "$E/lines"
          [ "$(ls "$E/d")" = 300 ]; [ "$(cat "$E/d/300")" = moving ]
          """)
        try restart(pair, 3, by: signal, during: script)
      }
    }

    @Test func `an open file is read, written and synced on, and one that is another by now is stale`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { pair in
        let script = try pair.start(
          """
          python3 - "$M" "$E" <<'END'
          import errno, os, sys, time
          mount, export = sys.argv[1:]
          names = ["same", "renamed", "removed", "other", "moved"]
          files = {name: os.open(f"{mount}/{name}", os.O_RDWR | os.O_CREAT, 0o444) for name in names}
          for file in files.values():
              os.write(file, b"before\\n"); os.fsync(file)
          os.rename(f"{mount}/renamed", f"{mount}/now")
          os.unlink(f"{mount}/removed")
          open(f"{export}/ready", "w").close()
          while not os.path.exists(f"{export}/go"): time.sleep(0.1)
          def outcome(work):
              try: work()
              except OSError as error: return errno.errorcode[error.errno]
              return "done"
          for name in ["same", "renamed"]:
              file = files[name]
              assert os.pread(file, 7, 0) == b"before\\n", name
              os.pwrite(file, b"after\\n", 7); os.fsync(file); os.close(file)
          assert open(f"{export}/same").read() == open(f"{export}/now").read() == "before\\nafter\\n"
          for name, error in [("removed", "EIO"), ("other", "ESTALE"), ("moved", "ESTALE")]:
              file = files[name]
              found = outcome(lambda: os.fsync(file)), outcome(lambda: os.preadv(file, [bytearray(1)], 1 << 20))
              assert found[0] == error, (name, found)
              if name == "moved":
                  found = [outcome(lambda: os.fstat(file)) for _ in range(4)]
                  assert found == [error] * 4, (name, found)
              os.close(file)
          END
          """)
        #expect(eventually(within: 20) { access(pair.export + "/ready", F_OK) == 0 })
        pair.exporter.child.stop()
        try pair.host("cd \"$E\"; mv other another; mv moved elsewhere; echo new > other; touch go")
        let exporter = try Exporter(pair.a.startP2PFS(["export", pair.export]))
        #expect(exporter.code == pair.exporter.code)
        let outcome = try script.wait(seconds: 60)
        #expect(outcome.status == 0, "\(outcome)")
      }
    }

    @Test func `started again before there is a signaling server, it waits for one, and the mount goes on`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let export = a.makeDirectory("export")
        let signal = ["signal", "--listen", "127.0.0.1:12985", "--no-stun"]
        let options = ["--signal", "ws://127.0.0.1:12985"]
        // Nobody looks for it yet.
        #expect(try a.startP2PFS(["export", export] + options).wait(seconds: 20).status == 3)
        let server = try a.startP2PFS(signal)
        _ = try server.line(with: "Signaling at", seconds: 20)
        let exporter = try Exporter(a.startP2PFS(["export", export] + options))
        let mounted = try b.mount(exporter.code, on: "mnt", ["-o", "timeout=60"])
        try b.shell("echo one > \"$M/f\"", ["M": mounted.point])
        exporter.child.stop()
        server.stop()
        let again = try a.startP2PFS(["export", export] + options)
        _ = try again.line(with: "There is no signaling server yet", seconds: 20)
        let writer = try b.start(["bash", "-euc", "echo two >> \"$M/f\""], environment: ["M": mounted.point])
        usleep(2_000_000)
        #expect(again.isRunning && writer.isRunning)
        _ = try a.startP2PFS(signal).line(with: "Signaling at", seconds: 20)
        #expect(try Exporter(again).code == exporter.code)
        #expect(try writer.wait(seconds: 30).status == 0)
        #expect(contents(of: export + "/f") == "one\ntwo\n")
      }
    }

    @Test func `another export does not take the port where guests look`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { pair in
        // By its code, since it ends without waiting for anybody.
        pair.exporter.child.signal(SIGTERM)
        #expect(try pair.exporter.child.wait(seconds: 10).status == 0)
        let other = try pair.a.export(pair.a.makeDirectory("other"))
        func server(_ code: String) -> Substring { code.split(separator: "@").last ?? "" }
        #expect(server(other.code) != server(pair.exporter.code))
        let again = try Exporter(pair.a.startP2PFS(["export", pair.export]))
        #expect(again.code == pair.exporter.code)
        try pair.guest("echo here > \"$M/f\"")
      }
    }

    @Test func `a file of a read-only export is read on`() throws {
      try EndToEnd.pair(export: ["--read-only"], mount: ["-o", "timeout=60"]) { a, export in
        try a.shell("head -c 60000000 /dev/urandom > \"$E/out\"", ["E": export])
      } _: { pair in
        let script = try pair.start("sleep 0.5; cp \"$M/out\" out; cmp out \"$E/out\"")
        try restart(pair, 2, during: script, options: ["--read-only"])
      }
    }

    @Test func `after another boot what was not synced is said to be in doubt`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { pair in
        let script = try pair.start(
          """
          python3 - "$M" "$E" <<'END'
          import errno, os, sys, time
          mount, export = sys.argv[1:]
          def made(name):
              file = os.open(f"{mount}/{name}", os.O_RDWR | os.O_CREAT, 0o644)
              os.write(file, b"text")
              return file
          synced, written, closed = made("synced"), made("written"), made("closed")
          os.fsync(synced); os.close(closed)
          open(f"{export}/ready", "w").close()
          while not os.path.exists(f"{export}/go"): time.sleep(0.1)
          os.fsync(synced); os.close(synced)
          try: os.fsync(written)
          except OSError as error: assert error.errno == errno.EIO, error
          else: sys.exit("fsync says that all is well")
          os.pwrite(written, b"TEXT", 0); os.fsync(written); os.close(written)
          END
          """)
        #expect(eventually(within: 20) { access(pair.export + "/ready", F_OK) == 0 })
        pair.exporter.child.stop()
        // As the next boot finds it: a journal that says nothing.
        try pair.host("rm \"$HOME\"/.local/state/p2pfs/exports/*.journals/*")
        _ = try Exporter(pair.a.startP2PFS(["export", pair.export]))
        // Once it is there again: what is asked for before fails, since nobody could know whether it was done.
        #expect(eventually(within: 20) { (try? pair.guest("stat -f \"$M\"")) != nil })
        try pair.host("touch \"$E/go\"")
        let outcome = try script.wait(seconds: 60)
        #expect(outcome.status == 0, "\(outcome)")
      }
    }
  }
}

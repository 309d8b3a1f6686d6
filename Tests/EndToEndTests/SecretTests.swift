import Rig
import Glibc
import Testing

extension EndToEnd {
  /// What the programs keep to themselves, and names of any bytes.
  @Suite struct Secrets {
    private static let code = "482153-lusab-babad"

    @Test func `no secret stands in the list of processes or in the environment`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let signal = try a.startP2PFS(
          ["signal", "--listen", "127.0.0.1:41985", "--turn", "turn:127.0.0.1", "--turn-secret", "lusab-secret"])
        let line = try signal.line(with: "Signaling at", seconds: 10)
        let server = String(line.split(separator: " ")[2].dropLast())
        let code = "\(Self.code)@\(server)"
        try b.shell("touch file; mkdir dir")
        let waiting = [
          (["pipe", code], "p2pfs pipe"), (["send", "--code", code, "file"], "p2pfs receive"),
          (["receive", "482154-lusab-babad@\(server)"], "p2pfs send"),
          (["export", "dir", "--code=482155-lusab-babad", "--signal", server], "p2pfs mount"),
          (["mount", "-f", "--wait", "482156-lusab-babad@\(server)", "dir"], nil),
          (["mount", "--wait", "482157-lusab-babad@\(server)", "dir"], nil),
          (["forward", "--wait", "482158-lusab-babad@\(server)", "-L", "0:localhost:1"], nil),
          (["pipe", "-"], "p2pfs pipe"),
        ]
        for (arguments, mark) in waiting {
          let environment = ["P2PFS_CODE": "482159-lusab-babad", "P2PFS_SIGNAL": server]
          let child = try b.startP2PFS(arguments, environment: environment)
          if let mark { _ = try child.line(with: mark, seconds: 20) }
          // Itself, and what it has started in the background.
          let isHidden = eventually(within: 10) {
            let processes = b.programs
            return !processes.isEmpty
              && processes.allSatisfy { process in
                !process.arguments.joined(separator: " ").contains("lusab")
                  && !contents(of: "/proc/\(process.pid)/environ").contains("lusab")
              }
          }
          #expect(isHidden, "\(b.programs)")
          for process in b.programs { #expect(process.arguments.dropFirst().first == arguments[0], "\(process)") }
          child.signal(SIGTERM)
          _ = try child.wait(seconds: 10)
          #expect(eventually(within: 10) { b.programs.isEmpty })
        }
        #expect(a.programs.allSatisfy { !$0.arguments.contains("lusab-secret") })
      }
    }

    @Test func `a wrong command line is not told with its code`() throws {
      try Stage.run { stage in
        let a = try stage.computer("a")
        let outcome = try a.p2pfs("umount", "somewhere", Self.code)
        #expect(outcome.status == 2 && outcome.errors.contains("482153-xxxxx-xxxxx"), "\(outcome)")
        #expect(!outcome.errors.contains("lusab"))
      }
    }

    @Test func `names that are no UTF-8 may be given in every argument`() throws {
      try Stage.run { stage in
        let a = try stage.computer("a")
        let script = #"""
          shown() { until grep -q "$2" "$1"; do sleep 0.05; done; grep -oE '[0-9]{6}(-[a-z]{5})+@[^ ]+' "$1" | head -1; }
          mkdir -p $'x\xe9' $'x\xe9/d\xff' $'m\xe9' $'b\xe9' $'in\xe9'; echo there > $'x\xe9/d\xff/f'; echo sent > $'s\xe9\xff'
          "$P" export $'x\xe9' --address 127.0.0.1 > log 2>&1 & exporter=$!
          code=$(shown log 'p2pfs mount'); grep -aq 'x\\xe9' log
          "$P" mount "$code":/$'d\xff' $'m\xe9' --export $'b\xe9' 2> said
          grep -aq 'm\\xe9' said; cat $'m\xe9/f'; echo back > $'m\xe9/g'
          "$P" umount $'m\xe9'; cat $'x\xe9/d\xff/g'; kill $exporter; wait $exporter || true
          "$P" send $'s\xe9\xff' --address 127.0.0.1 2> log & sender=$!
          code=$(shown log 'p2pfs receive')
          "$P" receive "$code" --yes --into $'in\xe9' 2> said; wait $sender
          grep -aq 's\\xe9\\xff' said; cat $'in\xe9/s\xe9\xff'
          "$P" umount $'nowhere\xe9' 2> said || grep -aq 'nowhere\\xe9' said
          ls | wc -l
          """#
        #expect(try a.shell(script, ["P": Stage.program], seconds: 60) == "there\nback\nsent\n7\n")
      }
    }

    @Test func `an exported home does not show what p2pfs keeps in it`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let exporter = try a.export(a.home)
        #expect(try a.shell("cat .local/state/p2pfs/exports/* 2>/dev/null || true").contains("code "))
        let mounted = try b.mount(exporter.code)
        let script = #"""
          cd "$M"; find .local .config | LC_ALL=C sort
          for forbidden in 'ls .local/state/p2pfs/exports' 'mv .local x' 'rmdir .config/p2pfs' 'touch .config/p2pfs/p2pfs.toml'; do
            if $forbidden 2> /dev/null; then echo "$forbidden"; fi
          done
          """#
        let found = ".config\n.config/p2pfs\n.local\n.local/state\n.local/state/p2pfs\n"
        #expect(try b.shell(script, ["M": mounted.point]) == found)
        #expect(try a.p2pfs("export", ".local/state/p2pfs").status == 1)
      }
    }
  }
}

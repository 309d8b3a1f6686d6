import CP2PFSLinux
import Rig
import P2PFSCore
import Glibc
import Testing

extension EndToEnd {
  /// `p2pfs send` and `p2pfs receive`, between two homes behind NATs and on one machine.
  @Suite struct Transfers {
    private static let code = "123456-lusab-babad"
    private static let signal = "ws://\(Lab.server):11985"

    /// A tree with everything that is easily lost.
    private static let tree = #"""
      mkdir -p t/empty t/sub/deep; head -c 3000000 /dev/urandom > t/sub/large; : > t/nothing; printf '#!' > t/run; chmod 750 t/run
      echo x > "t/$(printf 'new\nline \033[31m')"; echo y > t/grün; ln -s ../nothing t/sub/link; echo z > t/sub/deep/z
      touch -d '2001-02-03 04:05:06.123456789' t/sub/large t/empty; chmod 555 t/sub/deep; touch -d '2010-01-01 00:00:00.5' t/sub t
      """#

    /// Everything of a tree but what its contents are.
    private static func listing(_ path: String, on computer: Computer) throws -> String {
      try computer.shell(
        #"cd "$P"; find . -mindepth 1 -not -type l -printf '%P %y %m %T@ \n' | sort; find . -type l -printf '%P %l\n'; find . -type f -exec sha256sum {} + | sort"#,
        ["P": path])
    }

    private func expectSame(_ one: Computer, _ other: Computer, at location: SourceLocation = #_sourceLocation) throws {
      let there = try Self.listing(one.home + "/t", on: one)
      #expect(try Self.listing(other.home + "/in/t", on: other) == there, sourceLocation: location)
    }

    /// The word behind `p2pfs receive` or `--to` in what a command has shown.
    private func shown(_ child: Child, after mark: String) throws -> String {
      let line = try child.line(with: mark, seconds: 20)
      let words = line.split(separator: " ").map(String.init)
      guard let index = words.lastIndex(of: String(mark.split(separator: " ").last ?? "")), index + 1 < words.count
      else {
        throw StageError("no code in “\(line)”")
      }
      return words[index + 1]
    }

    @Test func `a tree arrives as it is, whoever starts`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell(Self.tree)
        try lab.b.shell("mkdir in")
        // The sender waits.
        let send = try lab.a.startP2PFS(["send", "t", "--signal", Self.signal])
        let code = try shown(send, after: "p2pfs receive")
        let received = try lab.b.p2pfs("receive", code, "--into", "in", "--yes")
        let sent = try send.wait(seconds: 20)
        #expect(received.status == 0 && sent.status == 0, "\(received) \(sent)")
        #expect(received.errors.contains("all checked.") && sent.errors.contains("all checked."))
        #expect(received.errors.contains("root@") && !received.errors.contains("\u{1b}"))
        try expectSame(lab.a, lab.b)
        // The receiver waits, and has it all.
        let receive = try lab.b.startP2PFS(["receive", "--into", "in", "-y", "--signal", Self.signal])
        let its = try shown(receive, after: "--to")
        let again = try lab.a.p2pfs("send", "-v", "t/", "--to", its)
        #expect(again.status == 0 && again.errors.contains("Sent 0 bytes"), "\(again)")
        #expect(try receive.wait(seconds: 20).status == 0)
        try expectSame(lab.a, lab.b)
        // A code that was agreed upon, in both orders.
        try lab.b.shell("chmod -R u+w in; rm -r in; mkdir in")
        let first = try lab.b.startP2PFS(["receive", Self.code, "--signal", Self.signal, "--into", "in", "-yq"])
        _ = try first.line(with: "p2pfs send --to", seconds: 20)
        let second = try lab.a.p2pfs("send", "t", "--code", Self.code, "--signal", Self.signal)
        #expect(try second.status == 0 && first.wait(seconds: 20).status == 0, "\(second)")
        try expectSame(lab.a, lab.b)
      }
    }

    @Test func `through a relay it arrives, too`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.relay()
        try lab.signal(relay: "turn:\(Lab.server):3478")
        try lab.a.shell(Self.tree)
        try lab.b.shell("mkdir in")
        let send = try lab.a.startP2PFS(["send", "-v", "t", "--code", Self.code, "--signal", Self.signal])
        let received = try lab.b.p2pfs("receive", Self.code, "--signal", Self.signal, "--into", "in", "--yes")
        let sent = try send.wait(seconds: 20)
        #expect(received.status == 0 && sent.status == 0, "\(received) \(sent)")
        #expect(sent.errors.contains("relayed"), "\(sent)")
        try expectSame(lab.a, lab.b)
      }
    }

    @Test func `either side is killed at any moment: the same commands send the rest`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell("mkdir t; head -c 60000000 /dev/urandom > t/a; for i in {1..50}; do echo $i > t/f$i; done")
        try lab.b.shell("mkdir in")
        let place = ["--signal", Self.signal]
        func sent(_ outcome: Outcome) -> Int {
          outcome.errors.split(separator: "\n").compactMap { line in
            line.hasPrefix("Sent ") ? Int(line.split(separator: " ")[1]) : nil
          }.last ?? -1
        }
        for (round, victim) in ["sender", "receiver"].enumerated() {
          let send = try lab.a.startP2PFS(["send", "t", "--code", Self.code, "--timeout", "2", "-v"] + place)
          let receive = try lab.b.startP2PFS(["receive", Self.code, "--into", "in", "-y", "--timeout", "2"] + place)
          let grown = Int64(8_000_000 + round * 20_000_000)
          #expect(eventually(within: 20) { size(of: lab.b.home + "/in/t/.a.p2pfs-part") > grown })
          let killed = victim == "sender" ? send : receive
          let other = victim == "sender" ? receive : send
          killed.stop()
          let outcome = try other.wait(seconds: 25)
          #expect(outcome.status == 4 && outcome.errors.contains("kept"), "\(victim): \(outcome)")
        }
        let send = try lab.a.startP2PFS(["send", "t", "--code", Self.code, "-v"] + place)
        let received = try lab.b.p2pfs("receive", Self.code, "--signal", Self.signal, "--into", "in", "-y")
        let outcome = try send.wait(seconds: 30)
        #expect(received.status == 0 && outcome.status == 0, "\(received) \(outcome)")
        #expect(sent(outcome) >= 0 && sent(outcome) < 33_000_000, "\(outcome)")
        try expectSame(lab.a, lab.b)
        #expect(try lab.b.shell("find in -name '*part'") == "")
      }
    }

    @Test func `a router gets a new address, and the transfer goes on`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell("mkdir t; head -c 60000000 /dev/urandom > t/a")
        try lab.b.shell("mkdir in")
        let send = try lab.a.startP2PFS(["send", "t", "--code", Self.code, "--signal", Self.signal])
        let receive = try lab.b.startP2PFS(["receive", Self.code, "--signal", Self.signal, "--into", "in", "-y"])
        #expect(eventually(within: 20) { size(of: lab.b.home + "/in/t/.a.p2pfs-part") > 5_000_000 })
        try lab.lab("rebind", "a")
        let (received, sent) = (try receive.wait(seconds: 60), try send.wait(seconds: 20))
        #expect(received.status == 0 && sent.status == 0, "\(received) \(sent)")
        try expectSame(lab.a, lab.b)
      }
    }

    @Test func `Ctrl-C on either side is told to the other at once`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        // Longer than the test takes.
        try a.shell("mkdir t; truncate -s 4G t/a")
        try b.shell("mkdir in")
        for (interruptsSender, signal) in [(true, SIGINT), (false, SIGINT), (true, SIGTERM), (false, SIGTERM)] {
          let send = try a.startP2PFS(["send", "t"])
          let receive = try b.startP2PFS(["receive", try shown(send, after: "p2pfs receive"), "--into", "in", "-y"])
          #expect(eventually(within: 20) { size(of: b.home + "/in/t/.a.p2pfs-part") > 1_000_000 })
          let (interrupted, other) = interruptsSender ? (send, receive) : (receive, send)
          interrupted.signal(signal)
          let (outcome, told) = (try interrupted.wait(seconds: 10), try other.wait(seconds: 10))
          #expect(outcome.status == 128 + signal && outcome.errors.contains("kept"), "\(outcome)")
          #expect(told.status == 1 && told.errors.contains("interrupted") && told.errors.contains("kept"), "\(told)")
          try b.shell("rm -r in/t")
        }
        // While the other side has not opened anything.
        let receive = try a.startP2PFS(["receive", "-v", "-y"])
        let silent = try b.start([Stage.products + "/hostile-peer", "silence", try shown(receive, after: "--to")])
        _ = try receive.line(with: "Connected", seconds: 20)
        receive.signal(SIGINT)
        let outcome = try receive.wait(seconds: 10)
        #expect(outcome.status == 130 && outcome.errors.contains("interrupted"), "\(outcome)")
        silent.stop()
        // While nobody has come yet.
        for signal in [SIGINT, SIGTERM] {
          let waiting = try a.startP2PFS(["receive"])
          _ = try shown(waiting, after: "--to")
          waiting.signal(signal)
          #expect(try waiting.wait(seconds: 10).status == 128 + signal)
        }
      }
    }

    @Test func `a count that takes long is waited for, and either side may end it`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("mkdir -p t/m; echo x > t/x")
        // A filesystem that nobody serves: whoever looks at it waits.
        let fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        defer { close(fuse) }
        let options = "fd=\(fuse),rootmode=40000,user_id=0,group_id=0"
        try #require(mount("slow", a.home + "/t/m", "fuse.slow", 0, options) == 0)
        defer { umount2(a.home + "/t/m", CInt(MNT_DETACH)) }
        for interruptsSender in [true, false] {
          let send = try a.startP2PFS(["send", "t"])
          let receive = try b.startP2PFS(["receive", try shown(send, after: "p2pfs receive"), "-y"])
          _ = try receive.line(with: "still counting", seconds: 20)
          let (interrupted, other) = interruptsSender ? (send, receive) : (receive, send)
          interrupted.signal(SIGINT)
          let (outcome, told) = (try interrupted.wait(seconds: 10), try other.wait(seconds: 10))
          #expect(outcome.status == 130 && told.status == 1, "\(outcome) \(told)")
          #expect(told.errors.contains("interrupted"), "\(told)")
        }
        // While nobody has come yet.
        let waiting = try a.startP2PFS(["send", "t"])
        _ = try shown(waiting, after: "p2pfs receive")
        waiting.signal(SIGTERM)
        #expect(try waiting.wait(seconds: 10).status == 143)
      }
    }

    @Test func `the receiver agrees first: no terminal, a no, a yes`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("echo x > x")
        try b.shell("mkdir in")
        // `script` gives a terminal of its own and types what it reads.
        for (answer, status) in [(nil, Int32(2)), ("n", 1), ("", 1), ("y", 0)] as [(String?, Int32)] {
          let send = try a.startP2PFS(["send", "x"])
          let code = try shown(send, after: "p2pfs receive")
          let received: Outcome
          if let answer {
            let command = "\(Stage.program) receive \(code) --into in"
            received = try b.run(
              // Again and again: what is typed before the question is no answer.
              [
                "bash", "-c",
                "for i in {1..60}; do sleep .2; echo \"$ANSWER\"; done | script -qec \"$COMMAND\" /dev/null",
              ],
              environment: ["ANSWER": answer, "COMMAND": command], seconds: 20)
            #expect(received.output.contains("1 file, 2 B"), "\(received)")
            #expect(received.output.contains("\"x\""), "\(received)")
          } else {
            received = try b.p2pfs("receive", code, "--into", "in")
            #expect(received.errors.contains("--yes"), "\(received)")
          }
          let sent = try send.wait(seconds: 10)
          #expect(received.status == status, "\(received)")
          #expect(sent.status == (status == 0 ? 0 : 1), "\(sent)")
          if status != 0 { #expect(sent.errors.contains("did not take it"), "\(sent)") }
          if status == 2 { #expect(sent.errors.contains("--yes"), "\(sent)") }
          #expect((access(b.home + "/in/x", F_OK) == 0) == (status == 0))
        }
      }
    }

    @Test func `what differs is named on both sides, and replaced only if asked`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("mkdir t; echo new > t/f; echo g > t/g; mkfifo t/p")
        try b.shell("mkdir -p in/t; echo old > in/t/f")
        for overwrites in [false, true] {
          let send = try a.startP2PFS(["send", "t"])
          let code = try shown(send, after: "p2pfs receive")
          let received = try b.startP2PFS(
            ["receive", code, "--into", "in", "-y"] + (overwrites ? ["--overwrite"] : [])
          ).wait(seconds: 20)
          let sent = try send.wait(seconds: 10)
          for outcome in [received, sent] {
            #expect(outcome.status == 1 && outcome.errors.contains("t/p: a FIFO"), "\(outcome)")
            #expect(outcome.errors.contains("t/f") == !overwrites, "\(outcome)")
          }
          #expect(try b.shell("cat in/t/f in/t/g") == (overwrites ? "new\ng\n" : "old\ng\n"))
        }
      }
    }

    @Test func `sides that do not go together say so`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("echo x > x; mkdir export")
        try b.shell("echo y > y")
        let send = try a.startP2PFS(["send", "x"])
        let other = try b.p2pfs("send", "y", "--to", try shown(send, after: "p2pfs receive"))
        let first = try send.wait(seconds: 10)
        #expect(other.status == 1 && other.errors.contains("p2pfs receive"), "\(other)")
        #expect(first.status == 1 && first.errors.contains("p2pfs receive"), "\(first)")
        let receive = try a.startP2PFS(["receive", "-y"])
        let receiver = try b.p2pfs("receive", "-y", try shown(receive, after: "--to"))
        let waiting = try receive.wait(seconds: 10)
        #expect(receiver.status == 1 && receiver.errors.contains("p2pfs send"), "\(receiver)")
        #expect(waiting.status == 1 && waiting.errors.contains("p2pfs send"), "\(waiting)")
        let exporter = try a.export(a.home + "/export")
        let wrong = try b.p2pfs("receive", "-y", exporter.code)
        #expect(wrong.status == 1 && wrong.errors.contains("p2pfs mount"), "\(wrong)")
        for arguments in [["send"], ["send", "y", "--to", Self.code, "--code", Self.code]] {
          #expect(try b.startP2PFS(arguments).wait(seconds: 10).status == 2)
        }
        let missing = try b.p2pfs("send", "y", "nowhere")
        #expect(missing.status == 1 && missing.errors.contains("nowhere"), "\(missing)")
        #expect(try b.p2pfs("receive", Self.code, "--into", "nowhere").status == 1)
      }
    }

    /// The size of a local file; 0 if there is none.
    private func size(of path: String) -> Int64 {
      var status = stat()
      return stat(path, &status) == 0 ? Int64(status.st_size) : 0
    }
  }
}

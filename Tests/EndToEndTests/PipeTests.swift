import CP2PFSLinux
import Rig
import P2PFSCore
import Glibc
import Testing

extension Computer {
  /// Starts a script that joins a pipe: `$P` is the program, `$CODE` the code.
  fileprivate func join(_ script: String, code: String = "") throws -> Child {
    try start(["bash", "-c", script], environment: ["P": Stage.program, "CODE": code])
  }

  /// Starts a script with `"$P" pipe` in it, which waits; returns the code that it shows, too.
  fileprivate func wait(_ script: String) throws -> (child: Child, code: String) {
    let child = try join(script)
    return (child, try code(of: child))
  }

  fileprivate func code(of child: Child) throws -> String {
    String(try child.line(with: "    p2pfs pipe ", seconds: 20).split(separator: " ")[2])
  }
}

extension EndToEnd {
  /// `p2pfs pipe`.
  @Suite struct Pipes {
    @Test func `each side's input is the other's output`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell("head -c 12000000 /dev/urandom > in")
        try lab.b.shell("head -c 9000000 /dev/urandom > in")
        let here = try lab.a.wait("exec \"$P\" pipe -v --signal ws://\(Lab.server):11985 < in > out")
        let there = try lab.b.join("exec \"$P\" pipe -v \"$CODE\" < in > out", code: here.code)
        try expectEnd(here.child, there)
        #expect(bytes(of: lab.a.home + "/in") == bytes(of: lab.b.home + "/out"))
        #expect(bytes(of: lab.b.home + "/in") == bytes(of: lab.a.home + "/out"))
        #expect(there.errors.contains("Connected: direct, "))
        #expect(here.child.output.isEmpty && there.output.isEmpty)
      }
    }

    @Test func `a pipe passes through a relay`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.relay()
        try lab.signal(relay: "turn:\(Lab.server)")
        try lab.a.shell("head -c 3000000 /dev/urandom > in")
        let here = try lab.a.wait("exec \"$P\" pipe --signal ws://\(Lab.server):11985 < in")
        let there = try lab.b.join("echo back | \"$P\" pipe -v \"$CODE\" > out", code: here.code)
        try expectEnd(here.child, there)
        #expect(bytes(of: lab.a.home + "/in") == bytes(of: lab.b.home + "/out"))
        #expect(here.child.output == "back\n")
        #expect(there.errors.contains("relayed"))
      }
    }

    @Test func `a new address and an outage do not harm the data`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        let source = "for i in {1..100}; do head -c 100000 /dev/urandom | tee -a sent; sleep 0.05; done"
        let here = try lab.a.wait(
          "set -o pipefail; { \(source); touch done; } | \"$P\" pipe --signal ws://\(Lab.server):11985 > out")
        let there = try lab.b.join("set -o pipefail; { \(source); } | \"$P\" pipe \"$CODE\" > out", code: here.code)
        #expect(eventually(within: 20) { bytes(of: lab.b.home + "/out").count > 1_000_000 })
        try lab.lab("rebind", "a")
        usleep(1_000_000)
        try lab.lab("outage", "b", "12")
        try expectEnd(here.child, there, seconds: 60)
        #expect(bytes(of: lab.a.home + "/sent") == bytes(of: lab.b.home + "/out"))
        #expect(bytes(of: lab.b.home + "/sent") == bytes(of: lab.a.home + "/out"))
        #expect(bytes(of: lab.b.home + "/out").count == 10_000_000)
        #expect(there.errors.contains("Connected again"))
      }
    }

    @Test func `an answer follows the end of the request`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let server = try a.wait(
          """
          mkfifo f; "$P" pipe < f | { cat > request; echo "answer to $(cat request)"; } > f; exit "${PIPESTATUS[0]}"
          """)
        let client = try b.join("echo hello | \"$P\" pipe -q \"$CODE\"", code: server.code)
        try expectEnd(server.child, client)
        #expect(client.output == "answer to hello\n")
        #expect(client.errors.isEmpty)
      }
    }

    @Test func `tar goes through, and nothing at all`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("mkdir -p d/e; echo x > d/e/f; ln -s e/f d/l; head -c 2000000 /dev/urandom > d/r")
        let tar = try a.wait("set -o pipefail; tar c d | \"$P\" pipe")
        try expectEnd(
          tar.child, try b.join("set -o pipefail; \"$P\" pipe \"$CODE\" < /dev/null | tar x", code: tar.code))
        try b.shell("diff -r --no-dereference d ../a/d")

        let empty = try a.wait("exec \"$P\" pipe <&-")
        let other = try b.join("exec \"$P\" pipe \"$CODE\" < /dev/null", code: empty.code)
        try expectEnd(empty.child, other)
        #expect(empty.child.output.isEmpty && other.output.isEmpty)
      }
    }

    @Test func `a terminal's input does not keep a pipe open that goes elsewhere`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let here = try a.wait("echo data | \"$P\" pipe")
        let terminal = """
          import os, pty
          child, terminal = pty.fork()
          if child == 0: os.execlp("bash", "bash", "-c", 'exec "$P" pipe "$CODE" > out')
          os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
          """
        let there = try b.start(["python3", "-c", terminal], environment: ["P": Stage.program, "CODE": here.code])
        try expectEnd(here.child, there)
        #expect(contents(of: b.home + "/out") == "data\n")
      }
    }

    @Test func `both sides may be given the same code, and again`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        _ = try a.startP2PFS(["signal", "--listen", "127.0.0.1:21986"])
        #expect(eventually(within: 10) { a.isListening(port: 21986) })
        let code = "271828-lusab-babad@ws://127.0.0.1:21986"
        for (round, (first, second)) in [(a, b), (b, a), (a, b)].enumerated() {
          let one = try first.join("echo \(round) from \(first.name) | \"$P\" pipe \"$CODE\"", code: code)
          // The third time, nobody waits for anybody.
          if round < 2 { _ = try self.code(of: one, at: first) }
          let other = try second.join("echo \(round) from \(second.name) | P2PFS_CODE=$CODE \"$P\" pipe -", code: code)
          try expectEnd(one, other)
          #expect(one.output == "\(round) from \(second.name)\n" && other.output == "\(round) from \(first.name)\n")
        }
        let named = try a.join("echo x | \"$P\" pipe --code 314159-lusab-babad --signal 127.0.0.1:21986")
        let code2 = try a.code(of: named)
        #expect(code2.hasPrefix("314159-lusab-babad@"))
        let other = try b.join("exec \"$P\" pipe \"$CODE\" < /dev/null", code: code2)
        try expectEnd(named, other)
        #expect(other.output == "x\n")
      }
    }

    // MARK: - Other ends

    @Test func `when nobody takes the data any more, the sender ends as in a shell`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let sender = try a.wait("yes | \"$P\" pipe; echo \"${PIPESTATUS[@]}\" > status")
        let receiver = try b.join(
          "\"$P\" pipe \"$CODE\" < /dev/null | head -1; echo \"${PIPESTATUS[@]}\" > status", code: sender.code)
        try expectEnd(sender.child, receiver)
        #expect(receiver.output == "y\n")
        #expect(contents(of: a.home + "/status") == "141 141\n")
        #expect(contents(of: b.home + "/status") == "141 0\n")

        // Nothing flows, and the reader leaves.
        let silent = try a.wait("mkfifo f; exec \"$P\" pipe <> f")
        let leaver = try b.join(
          "mkfifo f; \"$P\" pipe \"$CODE\" <> f | true; exit \"${PIPESTATUS[0]}\"", code: silent.code)
        #expect(try leaver.wait(seconds: 15).status == 128 + SIGPIPE)
        #expect(try silent.child.wait(seconds: 15).status == -SIGPIPE)
      }
    }

    @Test func `an output that is full fails on both sides, with the reason`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let full = try a.wait("exec \"$P\" pipe > /dev/full < /dev/null")
        let sender = try b.join("head -c 1000000 /dev/zero | \"$P\" pipe \"$CODE\"", code: full.code)
        let (here, there) = (try full.child.wait(seconds: 15), try sender.wait(seconds: 15))
        #expect(here.status == 1 && here.errors.contains("cannot write standard output: No space left on device"))
        #expect(there.status == 1 && there.errors.contains("cannot write its standard output: No space left on device"))
      }
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func `who is interrupted tells the other side`(_ signal: Int32) throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let here = try a.wait("mkfifo f; exec \"$P\" pipe <> f > out")
        let there = try b.join("exec \"$P\" pipe \"$CODE\" < /dev/zero", code: here.code)
        #expect(eventually(within: 10) { bytes(of: a.home + "/out").count > 100_000 })
        let start = Instant.now
        here.child.signal(signal)
        #expect(try here.child.wait(seconds: 10).status == 128 + signal)
        let told = try there.wait(seconds: 10)
        #expect(told.status == 1 && told.errors.contains("the other computer gave up: it was interrupted"), "\(told)")
        #expect(Instant.now.seconds(since: start) < 8, "long before it is missed")
      }
    }

    @Test func `before anybody has come, Ctrl-C ends it`() throws {
      try Stage.run { stage in
        let waiting = try stage.computer("a").wait("exec \"$P\" pipe < /dev/null")
        waiting.child.signal(SIGINT)
        #expect(try waiting.child.wait(seconds: 5).status == 130)
      }
    }

    @Test func `a wrong code is refused, and so is a program of another kind`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let here = try a.wait("exec \"$P\" pipe < /dev/null")
        let wrong = here.code.replacing(/-[a-z]+@/, with: here.code.contains("-babad@") ? "-dadab@" : "-babad@")
        let guest = try b.join("exec \"$P\" pipe \"$CODE\" < /dev/null", code: wrong)
        #expect(try guest.wait(seconds: 15).status == 5)
        #expect(here.child.isRunning)
        let nobody = try b.join("exec \"$P\" pipe 12 < /dev/null")
        #expect(try nobody.wait(seconds: 15).status == 2)
        let exporter = try a.export(a.makeDirectory("export"))
        let lost = try b.join("exec \"$P\" pipe \"$CODE\" < /dev/null", code: exporter.code)
        let told = try lost.wait(seconds: 15)
        #expect(told.status == 1 && told.errors.contains("the other computer refused"), "\(told)")
      }
    }

    @Test func `whoever survives the other's death never takes it for success`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.shell("head -c 15000000 /dev/urandom > in")
        let length = 15_000_000
        let rounds = try (0..<4).map { round in
          let here = try a.wait("exec \"$P\" pipe --timeout 3 < in > out\(round)")
          let there = try b.join(
            "exec \"$P\" pipe --timeout 3 \"$CODE\" < ../a/in > out\(round)", code: here.code)
          return (round, here.child, there)
        }
        // At different points of the transfer, the last ones perhaps after its end.
        for (round, here, there) in rounds {
          let point = Int.random(in: 1...length)
          _ = eventually(within: 20) { self.size(b.home + "/out\(round)") >= point }
          (round.isMultiple(of: 2) ? here : there).signal(SIGKILL)
        }
        let sent = bytes(of: a.home + "/in")
        for (round, here, there) in rounds {
          let survivor = try (round.isMultiple(of: 2) ? there : here).wait(seconds: 25)
          let isComplete = [a, b].allSatisfy { bytes(of: $0.home + "/out\(round)") == sent }
          #expect(survivor.status == 0 ? isComplete : survivor.status == 4, "\(round): \(survivor)")
          if survivor.status != 0 { #expect(survivor.errors.contains("p2pfs: the other computer")) }
        }
      }
    }

    private func size(_ path: String) -> Int {
      var status = stat()
      return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    private func code(of child: Child, at computer: Computer) throws -> String { try computer.code(of: child) }

    /// Both end well.
    private func expectEnd(
      _ one: Child, _ other: Child, seconds: Double = 40, at location: SourceLocation = #_sourceLocation
    ) throws {
      for outcome in [try other.wait(seconds: seconds), try one.wait(seconds: seconds)] {
        #expect(outcome.status == 0, "\(outcome)", sourceLocation: location)
      }
    }
  }
}

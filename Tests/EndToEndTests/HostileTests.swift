import Glibc
import Testing

extension EndToEnd {
  /// A peer that knows the code and keeps to no rule (Tests/HostilePeer), against the real programs, between two NATs.
  /// Whatever it does: the program ends in bounded time and says so, takes nothing for success, writes nothing but below
  /// its target, gives nothing but what was offered, and passes nothing on to the terminal that steers it.
  @Suite struct Hostile {
    /// A program that waits under a code, what is done to it, and by whom.
    private struct Scene {
      let act: String
      let home: String
      let victim: Child
      var peer: Child?
    }

    private static let atOnce = 8
    /// A signaling server lets one address come in sixty times in a minute; a host comes twice.
    private static let atOneServer = 24
    private static let patient = ["silence", "offer-never"]

    /// What a receiver finds: a file, and links that lead out of its directory.
    private static let target = "mkdir in; ln -s .. in/out; ln -s ../canary in/way; echo mine > in/mine"

    /// Plays acts against a program in each one's own directory, several at once.
    /// - Parameters:
    ///   - prepare: run in that directory, before.
    ///   - check: looks at how both ended.
    private func play(
      _ acts: [String], against command: String, showing mark: String, prepare: String, in lab: Lab,
      relay: String? = nil,
      check: (_ act: String, _ home: String, _ victim: Outcome, _ peer: Outcome) throws -> Void
    ) throws {
      var port = 11_984
      for first in stride(from: 0, to: acts.count, by: Self.atOnce) {
        if first.isMultiple(of: Self.atOneServer) {
          port += 1
          try lab.signal(relay: relay, port: port)
        }
        var scenes = try acts[first..<min(first + Self.atOnce, acts.count)].map { act in
          let home = lab.a.makeDirectory(act)
          try lab.a.shell("cd \(act); echo canary > canary; \(prepare)")
          let victim = try lab.a.start(
            ["bash", "-c", "cd \(act); exec \"$P\" \(command) --timeout 1 --signal ws://\(Lab.server):\(port)"],
            environment: ["P": Stage.program])
          return Scene(act: act, home: home, victim: victim)
        }
        for index in scenes.indices {
          let line = try scenes[index].victim.line(with: mark, seconds: 20).split(separator: " ")
          guard let word = line.first(where: { $0.contains("@") }) else { throw StageError("no code in \(line)") }
          scenes[index].peer = try lab.b.start([Stage.products + "/hostile-peer", scenes[index].act, String(word)])
        }
        for scene in scenes {
          guard let peer = scene.peer else { continue }
          let victim = try scene.victim.wait(seconds: 60)
          let told = try peer.wait(seconds: 40)
          let harmless = scene.act.hasSuffix("death") || scene.act.contains("death-")
          #expect(told.output.contains("played") && (harmless || told.status == 0), "\(scene.act): \(told)")
          expectHarmless(victim, scene.act)
          #expect(contents(of: scene.home + "/canary") == "canary\n", "\(scene.act)")
          try check(scene.act, scene.home, victim, told)
        }
      }
    }

    /// Nothing in it steers a terminal, and it is no trap of Swift's.
    private func expectHarmless(_ outcome: Outcome, _ act: String) {
      let steering = (outcome.output + outcome.errors).unicodeScalars.filter {
        $0.value < 0x20 && $0 != "\n" || (0x7f..<0xa0).contains($0.value) || (0x202a...0x202e).contains($0.value)
      }
      #expect(steering.isEmpty, "\(act): \(outcome)")
      #expect(outcome.status >= 0 && outcome.status != 128 + SIGTRAP, "\(act): \(outcome)")
      #expect(!outcome.errors.contains("Fatal error"), "\(act): \(outcome)")
    }

    @Test func `no sender leaves the target, and none is taken at its word`() throws {
      try Lab.run(.cone, .cone) { lab in
        try play(
          acts("sender", in: lab), against: "receive --into in --yes", showing: "--to", prepare: Self.target, in: lab
        ) { act, home, victim, _ in
          #expect(victim.status == 1, "\(act): \(victim)")
          let outside = try lab.a.shell("cd \(act); ls -A; readlink in/out in/way; cat in/mine")
          #expect(outside == "canary\nin\n..\n../canary\nmine\n", "\(act)")
          // Nothing that is whole, and nothing special.
          let written = try lab.a.shell(
            "cd \(act)/in; find . -type f ! -name mine ! -name '.*part' -size +0 -o -perm /7000 -o -type b -o -type c")
          #expect(written == "", "\(act): \(written)")
        }
      }
    }

    @Test func `no receiver gets what was not offered, and none is taken at its word`() throws {
      try Lab.run(.cone, .cone) { lab in
        try play(
          acts("receiver", in: lab), against: "send t", showing: "p2pfs receive",
          prepare: "mkdir t; echo a > t/a; echo b > t/b; echo secret > secret", in: lab
        ) { act, _, victim, peer in
          #expect(victim.status == 1, "\(act): \(victim)")
          #expect(!peer.output.contains("secret"), "\(act): \(peer)")
        }
      }
    }

    @Test func `no pipe is complete that is not, whatever its other end says`() throws {
      try Lab.run(.cone, .cone) { lab in
        try play(
          acts("pipe", in: lab) + acts("session", in: lab), against: "pipe < in > out", showing: "    p2pfs pipe ",
          prepare: "head -c 1000000 /dev/urandom > in", in: lab
        ) { act, home, victim, _ in
          // 4: it has cut the other one off, which did not come back.
          #expect([1, 4].contains(victim.status), "\(act): \(victim)")
          #expect(["", "hi"].contains(contents(of: home + "/out")), "\(act)")
        }
      }
    }

    @Test func `through a relay it is the same, and who says nothing is not waited for without end`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.relay()
        try play(
          Self.patient + ["name-parent", "way-through-links"], against: "receive --into in --yes", showing: "--to",
          prepare: Self.target, in: lab, relay: "turn:\(Lab.server):3478"
        ) { act, home, victim, _ in
          #expect(victim.status == 1, "\(act): \(victim)")
          let left = try lab.a.shell("cd \(act); ls -A; cat in/mine")
          #expect(left == "canary\nin\nmine\n", "\(act)")
        }
      }
    }

    @Test func `an export outlives all of them, and forwards what it allows and nothing else`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        let acts = try acts("session", in: lab)
        let export = lab.a.makeDirectory("export")
        let exporter = try lab.a.export(
          export, "--allow-forward", "localhost:1", "--allow-listen", "localhost:1", "--signal",
          "ws://\(Lab.server):11985")
        for first in stride(from: 0, to: acts.count, by: Self.atOnce) {
          let peers = try acts[first..<min(first + Self.atOnce, acts.count)].map {
            try lab.b.start([Stage.products + "/hostile-peer", $0, exporter.code])
          }
          for peer in peers { #expect(try peer.wait(seconds: 40).output.contains("played"), "\(peer.lines)") }
        }
        let asked = try lab.b.run(
          [Stage.products + "/hostile-peer", "forward-not-allowed", exporter.code], seconds: 40)
        #expect(asked.status == 0, "\(asked)")
        #expect(exporter.child.isRunning)
        let mounted = try lab.b.mount(exporter.code)
        try lab.b.shell("echo x > mnt/x")
        #expect(contents(of: export + "/x") == "x\n")
        try lab.b.unmount(mounted)
        #expect(try exporter.interrupt() == 130)
        expectHarmless(try exporter.child.wait(seconds: 1), "export")
      }
    }

    @Test func `a host that was asked to listen reaches that one target and nothing else`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        let code = "123456-lusab-babad@ws://\(Lab.server):11985"
        let listens = ["-R", "0:localhost:9"]
        for (act, options, told) in [
          ("forward-host-that-asks", listens, "asked: forward:listen:0:"),
          ("forward-host-that-babbles", listens + ["-L", "0:localhost:9"], ""),
        ] {
          let host = try lab.b.start([Stage.products + "/hostile-peer", act, code])
          let guest = try lab.a.startP2PFS(["forward", code, "--wait", "--timeout", "1"] + options).wait(seconds: 60)
          #expect(guest.status != 0, "\(guest)")
          expectHarmless(guest, act)
          let outcome = try host.wait(seconds: 40)
          #expect(outcome.status == 0, "\(outcome)")
          if !told.isEmpty { #expect(outcome.output.contains(told), "\(outcome)") }
        }
      }
    }

    @Test func `sixteen guests at once that send all they can and take nothing cost an export 64 MB at most`() throws {
      try Lab.run(.cone, .cone, roundTripMilliseconds: 0) { lab in
        try lab.signal()
        let exporter = try lab.export(lab.a.makeDirectory("export"))
        let idle = try kilobytes("VmRSS", of: exporter.child.pid)
        let acts = try acts("memory", in: lab)
        let peers = try (0..<16).map {
          try lab.b.start([Stage.products + "/hostile-peer", acts[$0 % acts.count], exporter.code])
        }
        for peer in peers { #expect(try peer.wait(seconds: 60).output.contains("played"), "\(peer.lines)") }
        let peak = try kilobytes("VmHWM", of: exporter.child.pid)
        #expect(peak - idle <= 62_500, "\(idle) kB idle, \(peak) kB at most")
        #expect(try exporter.interrupt() == 130)
      }
    }

    /// A line of /proc/PID/status.
    private func kilobytes(_ line: String, of process: pid_t) throws -> Int {
      let words = contents(of: "/proc/\(process)/status").split { $0 == "\n" || $0 == "\t" || $0 == " " }
      guard let index = words.firstIndex(of: "\(line):"), index + 1 < words.count, let count = Int(words[index + 1])
      else { throw StageError("no \(line) of \(process)") }
      return count
    }

    /// The acts of one kind, as the program lists them; without those that take long for their nature.
    private func acts(_ kind: String, in lab: Lab) throws -> [String] {
      let listed = try lab.b.run([Stage.products + "/hostile-peer", "--list", kind])
      let acts = listed.output.split(separator: "\n").map(String.init).filter { !Self.patient.contains($0) }
      #expect(listed.status == 0 && !acts.isEmpty, "\(listed)")
      return acts
    }
  }
}

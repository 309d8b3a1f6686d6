import CP2PFSLinux
import Rig
import Glibc
import Testing

extension EndToEnd {
  /// Between two homes behind NATs, with 40 ms and 200 Mbit/s between them.
  @Suite struct BehindNATs {
    private let work = """
      head -c 5000000 /dev/urandom > r; cp r "$M/r"; cmp r "$E/r"; mkdir t; for i in {1..20}; do head -c $((i * 99)) r > t/$i; done
      rsync -a t "$M/"; diff -r t "$E/t"; test -z "$(rsync -ai t "$M/")"; ls -lR "$M" > /dev/null; cp "$E/r" s; cmp s "$M/r"
      """

    @Test func `cone and cone meet directly, with no more than a signaling server`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.pair { pair in
          #expect(pair.mounted.isDirect, "\(pair.mounted.message)")
          try pair.guest(work)
        }
      }
    }

    @Test func `symmetric and symmetric meet through a relay`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.relay()
        try lab.signal(relay: "turn:\(Lab.server):3478")
        try lab.pair { pair in
          #expect(pair.mounted.isRelayed, "\(pair.mounted.message)")
          try pair.guest(work)
        }
      }
    }

    @Test func `where no UDP passes, the relay is reached by TCP`() throws {
      try Lab.run(.cone, .udpblocked) { lab in
        try lab.relay()
        try lab.signal(relay: "turn:\(Lab.server):3478?transport=tcp")
        try lab.pair { pair in
          #expect(pair.mounted.isRelayed, "\(pair.mounted.message)")
          try pair.guest(work)
        }
      }
    }

    @Test func `symmetric and symmetric without a relay: no path, and what would help`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.signal()
        let exporter = try lab.export(lab.a.makeDirectory("export"))
        let outcome = try lab.b.p2pfs(
          "mount", exporter.code, lab.b.makeDirectory("mnt"), "--signal", "ws://\(Lab.server):11985", seconds: 45)
        #expect(outcome.status == 6, "\(outcome)")
        #expect(outcome.errors.contains("TURN"), "\(outcome)")
      }
    }

    @Test func `a router gets a new address: the mount goes on, and so does the copy`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.pair { pair in
          try pair.guest("head -c 60000000 /dev/urandom > r")
          let copy = try pair.start("cp r \"$M/r\"; cmp r \"$E/r\"")
          #expect(eventually(within: 20) { size(of: pair.export + "/r") > 5_000_000 })
          try lab.lab("rebind", "a")
          let outcome = try copy.wait(seconds: 120)
          #expect(outcome.status == 0, "\(outcome)")
          try pair.guest("echo after > \"$M/after\"; test \"$(cat \"$E/after\")\" = after")
        }
      }
    }

    @Test func `the link is down for twelve seconds: the mount goes on, and so does the copy`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.pair { pair in
          try pair.guest("head -c 60000000 /dev/urandom > \"$M/r\"")
          let copy = try pair.start("cp \"$M/r\" r; cmp r \"$E/r\"")
          #expect(eventually(within: 20) { size(of: pair.b.home + "/r") > 5_000_000 })
          try lab.lab("outage", "a", "12")
          let outcome = try copy.wait(seconds: 120)
          #expect(outcome.status == 0, "\(outcome)")
        }
      }
    }

    @Test func `a vanished exporter is noticed, and found again when it is back`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.pair(mount: ["-o", "timeout=5"]) { pair in
          let cut = try lab.a.start(["ip", "link", "set", "eth0", "down"]).wait(seconds: 5)
          #expect(cut.status == 0)
          let outcome = try pair.b.run(["ls", "-l", pair.mounted.point], seconds: 25)
          #expect(outcome.status != 0, "\(outcome)")
          try lab.a.shell("ip link set eth0 up; ip route add default via 10.77.1.1")
          let isBack = try eventually(within: 60) {
            try pair.b.run(["ls", pair.mounted.point], seconds: 25).status == 0
          }
          #expect(isBack)
        }
      }
    }

    /// The size of a local file.
    private func size(of path: String) -> Int {
      var status = stat()
      return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }
  }
}

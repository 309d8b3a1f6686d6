import Glibc
import Testing

extension EndToEnd {
  /// A program that appends to a file of the mount goes on soon when the network changes under it, and no line is lost or
  /// doubled. Tests/Lab/stalls measures the same, and more.
  @Suite struct Stalls {
    /// Seconds from when there is a path again: three are promised, and the machine may be busy.
    private let bound = 5.0

    @Test func `the guest's address changes`() throws {
      try expectNoStall { lab, _ in try move(lab.b, to: "10.77.2.9", by: "10.77.2.1") }
    }

    @Test func `the exporter's address changes`() throws {
      try expectNoStall { lab, _ in try move(lab.a, to: "10.77.1.9", by: "10.77.1.1") }
    }

    @Test func `both addresses change`() throws {
      try expectNoStall { lab, _ in
        try move(lab.a, to: "10.77.1.9", by: "10.77.1.1")
        try move(lab.b, to: "10.77.2.9", by: "10.77.2.1")
      }
    }

    @Test func `the exporter's router gets another address`() throws {
      try expectNoStall { lab, _ in try lab.lab("rebind", "a") }
    }

    @Test func `the exporter's link is down for a while`() throws {
      try expectNoStall { lab, _ in try lab.lab("outage", "a", "12") }
    }

    @Test func `the signaling server is started again while the guest's address changes`() throws {
      try expectNoStall { lab, signal in
        signal.signal(SIGKILL)
        _ = try signal.wait(seconds: 5)
        try move(lab.b, to: "10.77.2.9", by: "10.77.2.1")
        usleep(3_000_000)
        try lab.signal()
      }
    }

    @Test func `the guest is stopped for a while`() throws {
      try expectNoStall { lab, _ in
        let daemons = lab.stage.processes(of: "b").filter(\.isProgram)
        for daemon in daemons { kill(daemon.pid, SIGSTOP) }
        usleep(12_000_000)
        for daemon in daemons { kill(daemon.pid, SIGCONT) }
      }
    }

    /// Gives a computer another address, as a DHCP client does.
    private func move(_ computer: Computer, to address: String, by router: String) throws {
      try computer.shell(
        "ip addr flush dev eth0; sleep 0.2; ip addr add \(address)/24 dev eth0; ip route add default via \(router)")
    }

    /// Causes `trouble` while a loop appends lines; when it returns there is a path.
    private func expectNoStall(
      at location: SourceLocation = #_sourceLocation, _ trouble: (Lab, Child) throws -> Void
    ) throws {
      try Lab.run(.cone, .cone) { lab in
        let signal = try lab.signal()
        try lab.pair(mount: ["-o", "timeout=60"]) { pair in
          let loop = try pair.start(
            """
            for ((i = 0; ; i++)); do
              echo $i >> "$M/lines"; echo "$i $EPOCHREALTIME" >> written; [ ! -e enough ] || break; sleep 0.1
            done
            """)
          // A connection that breaks within five seconds is not made again at once.
          usleep(6_000_000)
          try trouble(lab, signal)
          let path = now()
          usleep(8_000_000)
          try pair.guest("touch enough")
          let outcome = try loop.wait(seconds: 60)
          #expect(outcome.status == 0, "\(outcome)", sourceLocation: location)
          let written = contents(of: pair.b.home + "/written").split(separator: "\n").map { $0.split(separator: " ") }
          let times = written.compactMap { $0.last.flatMap { Double($0) } }.filter { $0 > path }
          let longest = zip([path] + times, times).map { $1 - $0 }.max() ?? .infinity
          #expect(longest <= bound, "it stalled for \(longest) s", sourceLocation: location)
          let lines = contents(of: pair.export + "/lines").split(separator: "\n")
          #expect(lines == written.compactMap(\.first), "a line is lost or doubled", sourceLocation: location)
        }
      }
    }

    private func now() -> Double {
      var time = timeval()
      gettimeofday(&time, nil)
      return Double(time.tv_sec) + Double(time.tv_usec) / 1e6
    }
  }
}

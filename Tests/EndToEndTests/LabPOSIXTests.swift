import Rig
import SystemPackage
import Testing

extension EndToEnd.BehindNATs {
  @Test func `a real mount keeps every promise of POSIX that the table knows`() throws {
    try Lab.run(.cone, .cone, roundTripMilliseconds: 0) { lab in
      try lab.signal()
      try lab.pair { pair in
        // The cases run in this process: if one hangs, the mount's death frees it.
        let daemons = pair.b.programs.map { "\($0.pid)" }.joined(separator: " ")
        let watchdog = try pair.a.start(["bash", "-c", "sleep 240; kill -9 \(daemons)"])
        for promise in POSIXCase.all {
          do {
            try promise.run(in: FilePath(pair.mounted.point))
          } catch { Issue.record(error, "\(promise.name)") }
        }
        #expect(watchdog.isRunning, "it took too long")
        watchdog.stop()
      }
    }
  }
}

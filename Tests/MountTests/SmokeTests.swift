import Glibc
import Rig
import SystemPackage
import Testing

@testable import P2PFSMount

/// Runs a shell command with an end, in a process of its own; what it printed, and its status.
func shell(_ command: String, seconds: Int = 30) -> (status: Int32, output: String) {
  guard let pipe = popen("timeout -k 1 \(seconds) bash -c '\(command)' 2>&1", "r") else { return (-1, "") }
  var text: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 65_536)
  while case let count = fread(&block, 1, block.count, pipe), count > 0 { text += block[..<count] }
  let status = pclose(pipe)
  return ((status >> 8) & 0xff, String(decoding: text, as: UTF8.self))
}

@Suite(.onThreads, .serialized) struct CommandTests {
  @Test func `everyday commands work on a mount`() async throws {
    let share = try await MountedShare()
    let place = share.path.string
    let result = shell(
      """
      set -ex; cd \(place); ls -la; mkdir a; echo hello > a/x; cat a/x; cp a/x a/y; cmp a/x a/y; mv a/y a/z; ls -l a
      rm a/x; rm -r a; ls -la; head -c 5000000 /dev/urandom > /tmp/p2pfs-big.$$; cp /tmp/p2pfs-big.$$ big
      cmp big /tmp/p2pfs-big.$$; cp big big2; cmp big big2; stat big; df .; rm /tmp/p2pfs-big.$$
      """)
    #expect(result.status == 0, "\(result.output)")
    #expect(shell("cmp \(share.exported.path)/big \(place)/big2").status == 0)
  }
}

import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSTransfer

/// What becomes of files between the count and the end.
@Suite(.onThreads) struct SourceTests {
  private func place(_ script: String) throws -> (TemporaryDirectory, String) {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir from to; cd from; \(script)")
    return (directory, path)
  }

  @Test func `what came, grew or went since the offer is named, and nothing else suffers`() async throws {
    let (directory, path) = try place(
      "mkdir t; for f in a b c d e; do echo $f > t/$f; done; mkdir t/sub; echo x > t/sub/x; ln -s a t/link")
    let ending = try await transfer(
      [path + "/from/t"], into: path + "/to",
      decide: { _, _ in
        _ = try? shell(
          "cd \(path)/from/t; echo more >> b; : > d; rm e link; mkdir c2; echo new > c2/x; rm -r sub; echo file > sub")
        return .accept
      })
    // Nine were offered: four have come, and three were named.
    let named = ["", "t/b", "t/c2", "t/sub"]
    #expect(ending.problems.sender.paths == named && ending.problems.receiver.paths == named, "\(ending)")
    #expect(ending.problems.sender.reasons.contains("grown") && ending.problems.sender.reasons.contains("2 of"))
    #expect(try shell("cd \(path)/to/t; ls -A; cat a c d") == "a\nc\nd\na\nc\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `what only went since the offer is missed on both sides`() async throws {
    let (directory, path) = try place("mkdir t; echo a > t/a; echo b > t/b")
    let ending = try await transfer(
      [path + "/from/t"], into: path + "/to",
      decide: { _, _ in
        _ = try? shell("rm \(path)/from/t/b")
        return .accept
      })
    #expect(ending.problems.sender.reasons == "1 of what was offered is not there any more", "\(ending)")
    #expect(ending.problems.receiver.reasons == "1 of what was offered did not come", "\(ending)")
    withExtendedLifetime(directory) {}
  }

  @Test func `a file that says it is empty and is not has changed`() async throws {
    let (directory, path) = try place("echo x > x")
    let ending = try await transfer([path + "/from/x", "/proc/self/status"], into: path + "/to")
    #expect(ending.problems.sender.paths == ["status"] && ending.problems.receiver.paths == ["status"], "\(ending)")
    #expect(try shell("ls -A \(path)/to | grep -v part") == "x\n")
    withExtendedLifetime(directory) {}
  }

  /// Any request to that filesystem would wait for ever: nobody serves it.
  @Test func `what p2pfs has mounted is not sent, and says so`() async throws {
    let (directory, path) = try place("mkdir -p t/m; echo x > t/x")
    let fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    let options = "fd=\(fuse),rootmode=40000,user_id=0,group_id=0"
    #expect(mount("p2pfs", path + "/from/t/m", "fuse.p2pfs", 0, options) == 0)
    defer {
      close(fuse)
      umount2(path + "/from/t/m", CInt(MNT_DETACH))
    }
    #expect(throws: TransferFailure.self) { try TransferSource([path + "/from/t/m"]) }
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(ending.problems.sender.paths == ["t/m"] && ending.problems.receiver.paths == ["t/m"], "\(ending)")
    #expect(ending.problems.receiver.reasons == "mounted by p2pfs")
    #expect(try shell("ls \(path)/to/t") == "x\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `a count that takes long is not waited for by the end of the transfer`() async throws {
    let (directory, path) = try place("mkdir t; echo x > t/x")
    let relation = try Relation()
    let source = try TransferSource([path + "/from/t"])
    let count = TransferCount(of: source)
    count.stop()
    #expect(throws: TransferFailure.self) { try count.wait() }
    // Stopped by the end of the channel, which is what the sender waits for.
    let sender = TransferSender(source, count, over: relation.sender, claim: [], progress: .init()) { _ in }
    let running = Task { () async -> TransferFailure? in
      do throws(TransferFailure) { _ = try await sender.run() } catch { return error }
      return nil
    }
    let peer = Script(relation, asSender: false)
    await FileThread.run {
      try? peer.say(.hello(.init(sends: false, claim: [])))
      _ = try? peer.hear()
    }
    relation.receiver.reset(.cancelled, "interrupted")
    guard case .channel = await running.value else { throw TestFailure("it did not end") }
    withExtendedLifetime(directory) {}
  }

  @Test func `an interruption while contents are hashed is no problem of a file`() async throws {
    let (directory, path) = try place("truncate -s 8G a; truncate -s 8G ../to/a")
    let ending = try await transfer(
      [path + "/from/a"], into: path + "/to",
      meanwhile: { relation in
        usleep(500_000)
        relation.receiver.reset(.cancelled, "interrupted")
      })
    guard case .failure = ending.sender, case .failure(.channel(.cancelled)) = ending.receiver else {
      throw TestFailure("\(ending)")
    }
    #expect(ending.problems.sender.paths.isEmpty && ending.problems.receiver.paths.isEmpty, "\(ending)")
    withExtendedLifetime(directory) {}
  }
}

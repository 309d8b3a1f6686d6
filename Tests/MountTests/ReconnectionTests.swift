import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSMount

/// The mount outlives its connection.
@Suite(.onThreads, .serialized) struct ReconnectionTests {
  /// Bytes that differ from place to place.
  private func contents(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    var words = [UInt64](repeating: 0, count: count / 8)
    for index in words.indices {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      words[index] = state
    }
    return words.withUnsafeBytes { Array($0) }
  }

  private func write(_ bytes: [UInt8], to path: FilePath) throws {
    let file = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
    _ = try file.closeAfter { try file.writeAll(bytes) }
  }

  private func read(_ path: FilePath) throws -> [UInt8] {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var all: [UInt8] = []
      var block = [UInt8](repeating: 0, count: 1_048_576)
      while case let count = try block.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
        all += block[..<count]
      }
      return all
    }
  }

  @Test func `a read goes on where the connection broke`() async throws {
    let share = try await MountedShare()
    for round in 0..<5 {
      let expected = contents(3_000_000, seed: UInt64(round + 1))
      try write(expected, to: share.exported.path.appending("f\(round)"))
      let file = try FileDescriptor.open(share.path.appending("f\(round)"), .readOnly)
      try file.closeAfter {
        var all: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while case let count = try block.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
          all += block[..<count]
          if all.count == 65_536 * (1 + round * 6) { share.interrupt() }
        }
        #expect(all == expected)
      }
    }
    #expect(share.client.isOnline)
  }

  @Test(arguments: [1, 2, 3, 4, 5, 6]) func `what comes along with an open is not cut short`(_ replies: Int)
    async throws
  {
    // The peer answers an open of which it has done more than was heard again, with the attributes only.
    let file = Attributes.made(.regular, inode: 11, size: 200_000)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.told(file)]
      case .open:
        let pieces = (0..<replies - 1).map { number in
          Reply.piece(Int64(number) * 20_000, [UInt8](repeating: 7, count: 20_000), isLast: false)
        }
        return [.told(file, isLast: false)] + pieces + [.told(file)]
      case .read(_, let offset, let count):
        let count = min(Int(count), 200_000 - Int(offset))
        guard count > 0 else { return [.piece(offset, [])] }
        return stride(from: 0, to: count, by: 32_768).map { start in
          let length = min(32_768, count - start)
          return .piece(
            offset + Int64(start), [UInt8](repeating: 7, count: length), isLast: start + length == count)
        }
      default: return [.done]
      }
    }
    #expect(try read(mount.path.appending("f")) == [UInt8](repeating: 7, count: 200_000))
  }

  @Test func `a write goes on where the connection broke, and an append happens once`() async throws {
    let share = try await MountedShare()
    for (round, isAppend) in [false, false, false, true, true].enumerated() {
      let expected = contents(3_000_000, seed: UInt64(round + 11))
      let path = share.path.appending("f\(round)")
      let file = try FileDescriptor.open(
        path, .writeOnly, options: isAppend ? [.create, .append] : [.create], permissions: .ownerReadWrite)
      try file.closeAfter {
        for start in stride(from: 0, to: expected.count, by: 50_000) {
          try file.writeAll(expected[start..<start + 50_000])
          if start == 500_000 * (1 + round) { share.interrupt() }
        }
        #expect(fsync(file.rawValue) == 0)
      }
      let written = try read(share.exported.path.appending("f\(round)"))
      #expect(written == expected)
    }
  }

  @Test func `names that are made while the connection breaks are made once`() async throws {
    let share = try await MountedShare()
    for number in 0..<60 {
      if number % 20 == 10 { share.interrupt() }
      #expect(mkdir(share.path.appending("d\(number)").string, 0o755) == 0)
      #expect(rename(share.path.appending("d\(number)").string, share.path.appending("e\(number)").string) == 0)
    }
    #expect(shell("ls \(share.exported.path) | wc -l").output == "60\n")
  }

  @Test func `after the timeout operations fail, and work again when the peer is back`() async throws {
    let share = try await MountedShare(timeout: 1)
    try write([1, 2, 3], to: share.exported.path.appending("f"))
    let file = try FileDescriptor.open(share.path.appending("f"), .readWrite)
    share.cut()
    for _ in 0..<1_000 where share.client.status != .expired { usleep(10_000) }
    #expect(share.client.status == .expired)
    var byte: UInt8 = 0
    #expect(pread(file.rawValue, &byte, 1, 0) == -1 && errno == EIO)
    #expect(open(share.path.appending("f").string, O_RDONLY) == -1 && errno == ENOTCONN)
    #expect(mkdir(share.path.appending("d").string, 0o755) == -1 && errno == EIO)
    share.reconnect()
    for _ in 0..<1_000 where !share.client.isOnline { usleep(10_000) }
    #expect(pread(file.rawValue, &byte, 1, 1) == 1 && byte == 2)
    try file.close()
    #expect(mkdir(share.path.appending("d").string, 0o755) == 0)
  }

  @Test func `what is not written when the peer stays away is named as lost`() async throws {
    let share = try await MountedShare(timeout: 1)
    let file = try FileDescriptor.open(
      share.path.appending("f"), .writeOnly, options: .create, permissions: .ownerReadWrite)
    share.cut()
    for _ in 0..<1_000 where share.client.isOnline { usleep(10_000) }
    try file.writeAll([1, 2, 3])
    #expect(share.mount.unwrittenBytes == 3)
    let loss = await share.mount.flush(timeout: 0)
    #expect(loss.bytes == 3)
    #expect(loss.files == [Array("f".utf8)])
    for _ in 0..<1_000 where share.client.status != .expired { usleep(10_000) }
    #expect(close(file.rawValue) == -1 && errno == EIO)
    let end = await share.mount.flush(timeout: 0)
    #expect(end.bytes == 0)
  }

  @Test func `a write that waits for credit ends when its program is killed`() async throws {
    let file = Attributes.made(.regular, inode: 11)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.failed(.noSuchFileOrDirectory)]
      case .create: return [.told(file)]
      case .write: return nil
      default: return [.done]
      }
    }
    // More than the peer takes at once: the program waits in write(2), then in close(2).
    let place = try TemporaryDirectory()
    let pid = place.path.appending("pid")
    async let result = shell(
      "bash -c \"echo \\$\\$ > \(pid); exec head -c 20000000 /dev/zero > \(mount.path)/f\"; timeout 3 true")
    #expect(eventually { mount.peer.count(.write) > 0 })
    #expect(shell("kill -KILL $(cat \(pid))").status == 0)
    #expect(await result.status == 0)
  }

  @Test func `a share that is read only shows as one`() async throws {
    let share = try await MountedShare(readOnly: true)
    try write([1, 2, 3], to: share.exported.path.appending("f"))
    #expect(try read(share.path.appending("f")) == [1, 2, 3])
    #expect(open(share.path.appending("f").string, O_WRONLY) == -1 && errno == EROFS)
    #expect(open(share.path.appending("new").string, O_WRONLY | O_CREAT, 0o644) == -1 && errno == EROFS)
    #expect(mkdir(share.path.appending("d").string, 0o755) == -1 && errno == EROFS)
    #expect(unlink(share.path.appending("f").string) == -1 && errno == EROFS)
    #expect(chmod(share.path.appending("f").string, 0o600) == -1 && errno == EROFS)
    #expect(shell("ls \(share.exported.path)").output == "f\n")
  }
}

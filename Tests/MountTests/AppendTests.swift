import P2PFSCore
import Glibc
import Rig
import SystemPackage
import Testing

@testable import P2PFSMount

@Suite struct `Appends as a whole` {
  /// Buffers of a vector, and the bytes of each: the kernel cuts the first at its pages, the second at its bytes.
  @Test(arguments: [(600, 100), (3, 500_000)])
  func `a vector is appended by two programs at a time without a seam`(buffers: Int, bytes: Int) async throws {
    let share = try await MountedShare()
    let path = share.path.appending("f").string
    let (total, rounds) = (buffers * bytes, 12)
    let writers = [UInt8(ascii: "a"), UInt8(ascii: "b")].map { letter in
      Worker("appender") {
        let file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o644)
        defer { close(file) }
        var contents = [UInt8](repeating: letter, count: bytes)
        contents.withUnsafeMutableBytes { contents in
          let vector = [iovec](repeating: iovec(iov_base: contents.baseAddress, iov_len: bytes), count: buffers)
          for _ in 0..<rounds { #expect(writev(file, vector, Int32(buffers)) == total) }
        }
      }
    }
    for writer in writers { writer.join() }
    let file = try FileDescriptor.open(share.exported.path.appending("f"), .readOnly)
    defer { try? file.close() }
    var written = [UInt8](repeating: 0, count: 2 * rounds * total + 1)
    let length = try written.withUnsafeMutableBytes { buffer in
      var length = 0
      while case let count = try file.read(fromAbsoluteOffset: Int64(length), into: .init(rebasing: buffer[length...])),
        count > 0
      { length += count }
      return length
    }
    written.removeLast(written.count - length)
    #expect(written.count == 2 * rounds * total)
    for start in stride(from: 0, to: written.count, by: total) {
      let part = written[start..<min(start + total, written.count)]
      #expect(part.allSatisfy { $0 == part.first }, "another program's bytes are in the middle of one append")
    }
  }
}

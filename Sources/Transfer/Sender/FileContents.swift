import P2PFSCore
import Glibc
import SystemPackage

/// Positioned reads and writes of an open file.
enum FileContents {
  /// pread(2), repeated after a signal; 0 at the end of the file.
  static func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    while true {
      let count = pread(file, buffer.baseAddress, buffer.count, off_t(offset))
      if count >= 0 { return count }
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }

  /// Whether the file ends at or before `offset`.
  static func isEnd(_ file: CInt, _ offset: Int64) throws(Errno) -> Bool {
    var byte: UInt8 = 0
    return try withUnsafeMutableBytes(of: &byte) { byte throws(Errno) in try read(file, into: byte, at: offset) } == 0
  }

  /// pwrite(2), repeated until all bytes are written.
  static func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    var written = 0
    while written < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
      let count = pwrite(file, rest.baseAddress, rest.count, off_t(offset + Int64(written)))
      if count > 0 {
        written += count
      } else {
        guard count < 0, errno == EINTR else { throw count < 0 ? Errno(rawValue: errno) : .noSpace }
      }
    }
  }

  /// Hashes the first `count` bytes of a file; false if it has fewer.
  /// - Throws: `ECANCELED` once `isWanted` returns false; it is called for each buffer.
  static func hash(
    _ file: CInt, upTo count: Int64, into digest: Digest, while isWanted: () -> Bool
  ) throws(Errno) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.Transfer.hashBuffer, alignment: 4_096)
    defer { buffer.deallocate() }
    var offset: Int64 = 0
    while offset < count {
      guard isWanted() else { throw .canceled }
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(count - offset, Int64(buffer.count)))])
      let read = try read(file, into: part, at: offset)
      guard read > 0 else { return false }
      digest.update(UnsafeRawBufferPointer(rebasing: part[..<read]))
      offset += Int64(read)
    }
    return true
  }
}

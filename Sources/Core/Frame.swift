import Glibc

/// One message in memory: a heap buffer that travels between threads without being copied.
///
/// A frame has one writer, which fills it before handing it over; from then on it is read-only, and the last reference
/// frees it. That order makes it safe to be `Sendable`.
package final class Frame: @unchecked Sendable {
  /// The first byte of the buffer.
  package let base: UnsafeMutableRawPointer
  /// Size of the buffer in bytes.
  package let capacity: Int
  /// Length of the message in the buffer. Only the writer changes it.
  package var count: Int

  /// Allocates an empty frame of `capacity` bytes; the memory is not cleared.
  package init(capacity: Int) {
    precondition(capacity >= 0)
    guard let memory = malloc(max(capacity, 1)) else { fatalError("out of memory for a frame of \(capacity) bytes") }
    base = memory
    self.capacity = capacity
    count = 0
  }

  /// Takes ownership of `count` bytes allocated by malloc(3), as usrsctp returns them.
  package init(adopting memory: UnsafeMutableRawPointer, count: Int) {
    base = memory
    capacity = count
    self.count = count
  }

  /// Allocates a frame that holds a copy of `bytes`.
  package convenience init(copying bytes: some Collection<UInt8>) {
    self.init(capacity: bytes.count)
    UnsafeMutableRawBufferPointer(start: base, count: capacity).copyBytes(from: bytes)
    count = capacity
  }

  deinit { free(base) }

  /// The message. The pointer is valid as long as the frame lives.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The bytes of the buffer behind the message, for its writer.
  package var spare: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + count, count: capacity - count)
  }
}

/// A part of a frame, which it keeps alive.
package struct FrameSlice: Sendable {
  /// The frame that owns the bytes.
  package let frame: Frame
  /// Where the part lies in the frame.
  package let range: Range<Int>

  /// The part of `frame` at `range`, which must lie within its message.
  package init(_ frame: Frame, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= frame.count)
    self.frame = frame
    self.range = range
  }

  /// Length in bytes.
  package var count: Int { range.count }

  /// The bytes. The pointer is valid as long as the frame lives.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: frame.base + range.lowerBound, count: range.count)
  }
}

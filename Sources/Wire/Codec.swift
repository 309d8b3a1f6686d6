package import P2PFSCore

/// What is wrong with a message from the peer. It ends the connection: a peer that sends one is broken or hostile.
package struct MalformedMessage: Error, Equatable, CustomStringConvertible {
  /// What was wrong, for the log. Holds no bytes of the message.
  package let description: String

  /// A malformed message, described by `description`.
  package init(_ description: String) { self.description = description }
}

/// Reads a message from its start. Integers are little-endian. Nothing is read beyond the end.
package struct Reader {
  /// The frame that is read.
  package let frame: Frame
  /// Where the next value starts.
  package private(set) var offset: Int

  /// Starts at `offset` of `frame`.
  package init(_ frame: Frame, from offset: Int = 0) {
    precondition(offset >= 0 && offset <= frame.count)
    self.frame = frame
    self.offset = offset
  }

  /// How many bytes are left.
  package var remaining: Int { frame.count - offset }

  /// Reads an integer.
  package mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(MalformedMessage) -> T {
    let size = MemoryLayout<T>.size
    guard remaining >= size else { throw MalformedMessage("message ends within an integer") }
    defer { offset += size }
    return T(littleEndian: (frame.base + offset).loadUnaligned(as: T.self))
  }

  /// Reads `count` bytes in place.
  package mutating func slice(_ count: Int) throws(MalformedMessage) -> FrameSlice {
    guard count >= 0, remaining >= count else { throw MalformedMessage("message ends within a field") }
    defer { offset += count }
    return FrameSlice(frame, offset..<(offset + count))
  }

  /// Reads a byte string preceded by its length in 16 bits.
  package mutating func string() throws(MalformedMessage) -> UnsafeRawBufferPointer {
    try slice(Int(integer(UInt16.self))).bytes
  }

  /// Reads what is left, in place.
  package mutating func rest() -> FrameSlice {
    defer { offset = frame.count }
    return FrameSlice(frame, offset..<frame.count)
  }

  /// Fails if something is left.
  package func end() throws(MalformedMessage) {
    guard remaining == 0 else { throw MalformedMessage("\(remaining) bytes behind the end of the message") }
  }
}

/// Writes behind the message of a frame. Integers are little-endian. The frame must have the room: our bug if not.
extension Frame {
  /// Appends an integer.
  package func write<T: FixedWidthInteger>(_ value: T) {
    let size = MemoryLayout<T>.size
    precondition(capacity - count >= size, "frame too small")
    (base + count).storeBytes(of: value.littleEndian, as: T.self)
    count += size
  }

  /// Appends bytes.
  package func write(_ bytes: UnsafeRawBufferPointer) {
    precondition(capacity - count >= bytes.count, "frame too small")
    spare.copyMemory(from: bytes)
    count += bytes.count
  }

  /// Appends a byte string preceded by its length in 16 bits; at most 65,535 bytes.
  package func write(string: some Collection<UInt8>) {
    write(UInt16(string.count))
    precondition(capacity - count >= string.count, "frame too small")
    spare.copyBytes(from: string)
    count += string.count
  }
}

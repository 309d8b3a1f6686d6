package import P2PFSCore

/// Bytes that came from the other computer: one message, or a chunk of a stream or a file.
///
/// A collection of `UInt8` over the memory that the network layer received into, without a copy:
/// ```swift
/// let array = Array(bytes)
/// let text = String(decoding: bytes, as: UTF8.self)
/// let sum = bytes.withUnsafeBytes { $0.reduce(0) { $0 &+ Int($1) } }
/// ```
/// As long as it lives, so does that memory, up to 64 KiB: copy out what is to be kept of many.
public struct Bytes: Sendable {
  private let slice: FrameSlice

  package init(_ slice: FrameSlice) { self.slice = slice }

  /// Calls `body` with the bytes in place. The pointer must not be used after that.
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(slice) {} }
    return try body(slice.bytes)
  }
}

extension Bytes: RandomAccessCollection {
  /// Always 0.
  public var startIndex: Int { 0 }
  /// How many bytes there are.
  public var endIndex: Int { slice.count }

  /// The byte at `position`, which must be in `indices`.
  public subscript(position: Int) -> UInt8 {
    precondition(indices.contains(position), "no such byte")
    return withUnsafeBytes { $0[position] }
  }

  /// Calls `body` with the bytes in place. The pointer must not be used after that.
  public func withContiguousStorageIfAvailable<Result>(
    _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
  ) rethrows -> Result? {
    defer { withExtendedLifetime(slice) {} }
    return try slice.bytes.withMemoryRebound(to: UInt8.self, body)
  }
}

extension Bytes: Hashable {
  /// Whether both are the same bytes.
  public static func == (left: Bytes, right: Bytes) -> Bool { left.elementsEqual(right) }

  /// Feeds in the bytes.
  public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }
}

import Glibc
package import SystemPackage

/// Names of files as text. A name is any sequence of bytes, and text is Unicode: so each byte that is not UTF-8 becomes
/// a scalar of its own, U+10FE80 to U+10FEFF of the private use area, and the byte again when a path is made. If a name
/// really contains such a scalar, its four bytes are escaped too, so that no two names are the same text.
extension String {
  private static let firstEscape: UInt32 = 0x10_fe00
  private static let escapes: ClosedRange<UInt32> = 0x10_fe80...0x10_feff

  /// The text of a name, or of a line with names in it. Never fails.
  package init(pathBytes bytes: some Collection<UInt8>) {
    if let text = String(validating: bytes, as: UTF8.self), !text.hasEscapedBytes {
      self = text
      return
    }
    let bytes = Array(bytes)
    var scalars = String.UnicodeScalarView()
    var index = 0
    while index < bytes.count {
      if let (scalar, length) = String.scalar(bytes[index...]) {
        scalars.append(scalar)
        index += length
      } else {
        // A byte that starts no scalar is 0x80 or more.
        if let scalar = Unicode.Scalar(String.firstEscape + UInt32(bytes[index])) { scalars.append(scalar) }
        index += 1
      }
    }
    self = String(scalars)
  }

  /// Like `init(pathBytes:)`, from a C string.
  package init(path: UnsafePointer<CChar>) {
    self.init(pathBytes: UnsafeRawBufferPointer(start: path, count: strlen(path)))
  }

  /// The scalar at the start of the bytes, and its length; nil if there is none, or if it would be taken for an escape.
  private static func scalar(_ bytes: ArraySlice<UInt8>) -> (Unicode.Scalar, Int)? {
    guard let first = bytes.first else { return nil }
    let length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    guard let text = String(validating: bytes.prefix(length), as: UTF8.self), !text.hasEscapedBytes,
      let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1
    else { return nil }
    return (scalar, length)
  }

  /// Whether the text contains bytes that are not UTF-8.
  package var hasEscapedBytes: Bool { unicodeScalars.contains { $0.escapedByte != nil } }

  /// The bytes of the name, as given to `init(pathBytes:)`.
  package var pathBytes: [UInt8] {
    guard hasEscapedBytes else { return Array(utf8) }
    var bytes: [UInt8] = []
    for scalar in unicodeScalars {
      if let byte = scalar.escapedByte { bytes.append(byte) } else { bytes += Array(String(scalar).utf8) }
    }
    return bytes
  }

  /// Calls `body` with the name as a C string; the pointer is valid during the call.
  package func withPath<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
    guard hasEscapedBytes else { return try withCString(body) }
    return try (pathBytes + [0]).withUnsafeBufferPointer { bytes in
      try bytes.withMemoryRebound(to: CChar.self) { bytes in
        guard let base = bytes.baseAddress else { preconditionFailure("it has an end") }
        return try body(base)
      }
    }
  }

  /// The path of this name.
  package var filePath: FilePath { withPath { FilePath(platformString: $0) } }
}

extension Unicode.Scalar {
  /// The byte that the scalar represents in the text of a name.
  package var escapedByte: UInt8? {
    (0x10_fe80...0x10_feff).contains(value) ? UInt8(truncatingIfNeeded: value) : nil
  }
}

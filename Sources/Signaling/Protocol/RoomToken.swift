import CP2PFSOpenSSL

/// What lets the host of a room come back to it after a network change: 256 random bits.
package struct RoomToken: Sendable, Equatable {
  /// Length in bytes.
  package static let length = 32

  /// The bits, for the file they are kept in.
  package let bytes: [UInt8]

  /// A new token.
  package static func random() -> RoomToken {
    var bytes = [UInt8](repeating: 0, count: length)
    guard RAND_bytes(&bytes, Int32(length)) == 1 else { fatalError("the system has no random numbers") }
    return RoomToken(bytes)
  }

  /// A token that was kept; nil unless it has the right length.
  package init?(bytes: some Collection<UInt8>) {
    guard bytes.count == Self.length else { return nil }
    self.init(Array(bytes))
  }

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Reads 64 hexadecimal digits.
  init?(hex: String) {
    let digits = Array(hex.utf8)
    guard digits.count == 2 * Self.length else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    self.init(bytes)
  }

  /// 64 lower-case hexadecimal digits.
  var hex: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x41...0x46: digit - 0x41 + 10
    case 0x61...0x66: digit - 0x61 + 10
    default: nil
    }
  }

  /// Whether both are the same, in constant time.
  package static func == (left: RoomToken, right: RoomToken) -> Bool {
    CRYPTO_memcmp(left.bytes, right.bytes, length) == 0
  }
}

extension RoomToken: CustomStringConvertible, CustomReflectable {
  /// Nothing of the token.
  package var description: String { "room token" }

  /// Nothing of the token.
  package var customMirror: Mirror { Mirror(self, children: []) }
}

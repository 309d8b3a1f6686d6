/// The name of a meeting place: a code's six digits, or the 32 hexadecimal digits of a resumption secret.
package struct Room: Hashable, Sendable, CustomStringConvertible {
  /// The digits, in lower case.
  package let name: String

  /// A room's name; nil if it is none.
  package init?(_ name: some StringProtocol) {
    let isDigit = { (byte: UInt8) in (0x30...0x39).contains(byte) }
    let isHex = { (byte: UInt8) in isDigit(byte) || (0x61...0x66).contains(byte) }
    switch name.utf8.count {
    case 6: guard name.utf8.allSatisfy(isDigit) else { return nil }
    case 32: guard name.utf8.allSatisfy(isHex) else { return nil }
    default: return nil
    }
    self.name = String(name)
  }

  /// The name.
  package var description: String { name }
}

/// One guest's connection to a room, numbered by the server and never used again.
package struct GuestID: Hashable, Sendable, CustomStringConvertible {
  /// The number.
  package let rawValue: UInt32

  /// A guest's number.
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The number in words for a log.
  package var description: String { "guest \(rawValue)" }
}

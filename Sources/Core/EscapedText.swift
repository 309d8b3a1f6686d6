extension String {
  /// The text made safe for a terminal, for names chosen by a peer or a server. Escapes control characters, and
  /// characters that are invisible or change the direction of text, and so hide the real name.
  package var escaped: String { escaped(doublingBackslashes: false) }

  /// A name made safe for a terminal, as `escaped`; with its backslashes doubled, so that two names never look alike.
  package var escapedName: String { escaped(doublingBackslashes: true) }

  /// The text with bytes that are not UTF-8 (`String(pathBytes:)`) shown as `\xe9`, and all else unchanged.
  package var showingBytes: String {
    guard hasEscapedBytes else { return self }
    return unicodeScalars.reduce(into: "") { result, scalar in
      result += scalar.escapedByte.map { Unicode.Scalar.shown($0) } ?? String(scalar)
    }
  }

  private func escaped(doublingBackslashes: Bool) -> String {
    var result = ""
    for scalar in unicodeScalars {
      if let byte = scalar.escapedByte {
        result += Unicode.Scalar.shown(byte)
      } else if scalar.isUnsafe {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        if doublingBackslashes, scalar == "\\" { result += "\\" }
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

extension Unicode.Scalar {
  /// The display form of a byte of a name.
  fileprivate static func shown(_ byte: UInt8) -> String { "\\x\(String(byte, radix: 16))" }

  /// Whether a character controls a terminal, breaks a line, or is invisible: the general categories for that, and the
  /// whole block of tags, which no terminal shows.
  fileprivate var isUnsafe: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: (0xe0000...0xe0fff).contains(value)
    }
  }
}

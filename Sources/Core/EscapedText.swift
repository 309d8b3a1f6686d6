extension String {
  /// The text made safe for a terminal, for what a peer or a server named: control characters, and what is not seen or turns
  /// the direction of text and so hides what a name really is, are shown escaped.
  package var escaped: String { escaped(doublingBackslashes: false) }

  /// A name made safe for a terminal, as `escaped`; with its backslashes doubled, so that two names never look alike.
  package var escapedName: String { escaped(doublingBackslashes: true) }

  /// The text with the bytes that are no UTF-8 (`String(pathBytes:)`) shown as `\xe9`, and all else as it is.
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
  /// A byte of a name, as it is shown.
  fileprivate static func shown(_ byte: UInt8) -> String { "\\x\(String(byte, radix: 16))" }

  /// Whether it steers a terminal, breaks a line, or is not seen. Besides the general categories for that, the whole block
  /// of tags: text that no terminal shows.
  fileprivate var isUnsafe: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: (0xe0000...0xe0fff).contains(value)
    }
  }
}

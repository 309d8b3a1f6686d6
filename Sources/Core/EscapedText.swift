extension String {
  /// The text made safe for a terminal, for what a peer or a server named: control characters, and what is not seen or turns
  /// the direction of text and so hides what a name really is, are shown escaped.
  package var escaped: String { escaped(doublingBackslashes: false) }

  /// A name made safe for a terminal, as `escaped`; with its backslashes doubled, so that two names never look alike.
  package var escapedName: String { escaped(doublingBackslashes: true) }

  private func escaped(doublingBackslashes: Bool) -> String {
    var result = ""
    for scalar in unicodeScalars {
      if scalar.isUnsafe {
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
  /// Whether it steers a terminal, breaks a line, or is not seen. Besides the general categories for that, the whole block
  /// of tags: text that no terminal shows.
  fileprivate var isUnsafe: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: (0xe0000...0xe0fff).contains(value)
    }
  }
}

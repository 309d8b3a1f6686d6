/// Codes as people type, dictate and paste them, brought into the one spelling that `Code` reads. Only the spelling changes:
/// no letter or digit becomes another one, but for the full-width forms of the same.
package enum CodeSpelling {
  /// A text that begins with six digits, with plain hyphens for dashes of any kind and for blanks between words, and without
  /// blanks and quotation marks around it and characters that are not seen. Any other text as it is.
  static func plain(_ text: some StringProtocol) -> String {
    var scalars: [Unicode.Scalar] = []
    for scalar in text.unicodeScalars.prefix(longest) {
      guard let scalar = plain(scalar) else { continue }
      // A blank beside another one or beside a hyphen separates nothing.
      if scalar == " ", scalars.isEmpty || scalars.last == " " || scalars.last == "-" { continue }
      if scalar == "-", scalars.last == " " { scalars.removeLast() }
      scalars.append(scalar)
    }
    while let last = scalars.last, last == " " || isQuote(last) { scalars.removeLast() }
    let code = scalars.drop { isQuote($0) || $0 == " " }
    guard code.prefix(6).filter(isDigit).count == 6, code.count == 6 || !isDigit(code[code.startIndex + 6]) else {
      return String(text)
    }
    return String(String.UnicodeScalarView(code.map { $0 == " " ? "-" : $0 }))
  }

  /// Where codes stand in a command line whose words the shell has taken for arguments: six digits, then words of five
  /// letters, the last perhaps with a server or a path behind it. At least two words, which a code has.
  package static func codes(in arguments: [String]) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var index = 0
    while index < arguments.count {
      let start = index
      index += 1
      let room = arguments[start].unicodeScalars.compactMap(plain)
      guard room.count == 6, room.allSatisfy(isDigit) else { continue }
      var words = 0
      while index < arguments.count {
        let word = arguments[index].unicodeScalars.compactMap(plain)
        let end = word.firstIndex { $0 == "@" || $0 == ":" } ?? word.endIndex
        guard Proquint.decode(String(String.UnicodeScalarView(word[..<end])).lowercased()) != nil else {
          // A dash with blanks around it.
          guard word == ["-"] else { break }
          index += 1
          continue
        }
        words += 1
        index += 1
        if end < word.endIndex { break }
      }
      if words >= 2 { found.append(start..<index) } else { index = start + 1 }
    }
    return found
  }

  /// The arguments with each code in one of them.
  package static func joining(_ arguments: [String]) -> [String] {
    var result = arguments
    for range in codes(in: arguments).reversed() {
      result.replaceSubrange(range, with: [arguments[range].joined(separator: " ")])
    }
    return result
  }

  /// Characters that are looked at: more than any code has, in any spelling.
  private static let longest = 1024

  /// A space for what separates, a hyphen for dashes; nil for what is not seen.
  private static func plain(_ scalar: Unicode.Scalar) -> Unicode.Scalar? {
    // Full-width forms of ASCII (U+FF01 to U+FF5E), which keyboards of East Asia type.
    if (0xff01...0xff5e).contains(scalar.value), let narrow = Unicode.Scalar(scalar.value - 0xfee0) { return narrow }
    // A minus sign and a bullet that looks like a hyphen.
    if scalar.value == 0x2212 || scalar.value == 0x2043 { return "-" }
    switch scalar.properties.generalCategory {
    case .dashPunctuation: return "-"
    case .format: return nil
    default: return scalar.properties.isWhitespace ? " " : scalar
    }
  }

  private static func isQuote(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .initialPunctuation, .finalPunctuation: true
    default: "\"'`„‚".unicodeScalars.contains(scalar)
    }
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { (0x30...0x39).contains(scalar.value) }
}

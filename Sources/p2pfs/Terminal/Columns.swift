/// How much room a text takes on a terminal, where letters of East Asia and emoji take two columns. Rather too much than too
/// little: a line that is too long would wrap.
enum Columns {
  /// The columns of a text without control characters.
  static func of(_ text: String) -> Int { text.unicodeScalars.reduce(0) { $0 + width($1) } }

  /// The start of a text that takes at most `columns`.
  static func prefix(_ text: String, _ columns: Int) -> String {
    var taken = 0
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      taken += width(scalar)
      guard taken <= columns else { break }
      result.append(scalar)
    }
    return String(result)
  }

  /// The blocks of Unicode (East Asian Width, UAX #11) with nothing, or little, but wide characters.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115f, 0x2e80...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
    0xff00...0xff60, 0xffe0...0xffe6, 0x16fe0...0x18fff, 0x1aff0...0x1b2ff, 0x1f000...0x1faff, 0x20000...0x3fffd,
  ]

  private static func width(_ scalar: Unicode.Scalar) -> Int {
    guard scalar.value >= 0x300 else { return 1 }
    if wide.contains(where: { $0.contains(scalar.value) }) || scalar.properties.isEmojiPresentation { return 2 }
    switch scalar.properties.generalCategory {
    // What makes an emoji of the character before it makes that wide.
    case .nonspacingMark: return scalar.value == 0xfe0f ? 1 : 0
    case .enclosingMark: return 0
    default: return 1
    }
  }
}

/// Finds codes in text that others may see, as in the list of processes, to hide their secrets.
package enum CodeMask {
  /// Where the secrets of codes are in `bytes`, mistyped ones among them: behind six digits and a hyphen, letters and
  /// hyphens up to the end of a word, to `@` or to `:`.
  package static func secrets(in bytes: [UInt8]) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var start = 0
    while start + 7 < bytes.count {
      let isWord = start == 0 || !isLetter(bytes[start - 1]) && !isDigit(bytes[start - 1])
      guard isWord, bytes[start..<(start + 6)].allSatisfy(isDigit), bytes[start + 6] == UInt8(ascii: "-") else {
        start += 1
        continue
      }
      var end = start + 7
      while end < bytes.count, isLetter(bytes[end]) || bytes[end] == UInt8(ascii: "-") { end += 1 }
      if end > start + 7, end == bytes.count || isBehindCode(bytes[end]) { found.append((start + 7)..<end) }
      start = end
    }
    return found
  }

  /// `text` with `x` for each letter of a secret.
  package static func masked(_ text: String) -> String {
    var bytes = Array(text.utf8)
    for range in secrets(in: bytes) {
      for index in range where bytes[index] != UInt8(ascii: "-") { bytes[index] = UInt8(ascii: "x") }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte | 0x20) }

  private static func isBehindCode(_ byte: UInt8) -> Bool { byte <= 0x20 || "@:'\").,".utf8.contains(byte) }
}

/// Finds codes in text that others may see, as in the list of processes, to hide their secrets.
package enum CodeMask {
  /// Where the secrets of codes are in `bytes`, mistyped ones among them: behind six digits and a hyphen, letters and
  /// hyphens up to the end of a word, to `@` or to `:`. Also words of codes behind blanks or other dashes
  /// (`CodeSpelling`).
  package static func secrets(in bytes: [UInt8]) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var start = 0
    while start + 7 < bytes.count {
      let isWord = start == 0 || !isLetter(bytes[start - 1]) && !isDigit(bytes[start - 1])
      guard isWord, bytes[start..<(start + 6)].allSatisfy(isDigit) else {
        start += 1
        continue
      }
      guard bytes[start + 6] == UInt8(ascii: "-"), start + 7 < bytes.count, isLetter(bytes[start + 7]) else {
        let end = endOfWords(in: bytes, from: start + 6)
        if end > start + 6 { found.append((start + 6)..<end) }
        start = max(end, start + 1)
        continue
      }
      var end = start + 7
      while end < bytes.count, isLetter(bytes[end]) || bytes[end] == UInt8(ascii: "-") { end += 1 }
      let further = endOfWords(in: bytes, from: end)
      if further > end || end == bytes.count || isBehindCode(bytes[end]) { found.append((start + 7)..<further) }
      start = further
    }
    return found
  }

  /// Where words of a code end that follow each other behind blanks, hyphens and characters beyond ASCII; `start` if none
  /// is there.
  private static func endOfWords(in bytes: [UInt8], from start: Int) -> Int {
    var end = start
    while true {
      var next = end
      while next < bytes.count, bytes[next] >= 0x80 || " -".utf8.contains(bytes[next]) { next += 1 }
      var stop = next
      while stop < bytes.count, isLetter(bytes[stop]) { stop += 1 }
      let word = String(decoding: bytes[next..<stop], as: UTF8.self).lowercased()
      guard next > end, Proquint.decode(word) != nil else { return end }
      end = stop
    }
  }

  /// `text` with `x` for each letter of a secret.
  package static func masked(_ text: String) -> String {
    var bytes = Array(text.utf8)
    for range in secrets(in: bytes) {
      for index in range where isLetter(bytes[index]) { bytes[index] = UInt8(ascii: "x") }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte | 0x20) }

  private static func isBehindCode(_ byte: UInt8) -> Bool { byte <= 0x20 || "@:'\").,".utf8.contains(byte) }
}

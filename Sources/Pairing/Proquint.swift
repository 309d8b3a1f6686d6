/// Sixteen bits as a pronounceable word of five letters (Wilkerson, "A Proposal for Proquints").
///
///     bits   4          2      4          2      4
///     letter consonant  vowel  consonant  vowel  consonant
enum Proquint {
  private static let consonants = Array("bdfghjklmnprstvz".utf8)
  private static let vowels = Array("aiou".utf8)

  /// The word for `bits`.
  static func encode(_ bits: UInt16) -> String { String(decoding: letters(bits), as: UTF8.self) }

  /// Its letters, in ASCII.
  static func letters(_ bits: UInt16) -> [UInt8] {
    [
      consonants[Int(bits >> 12 & 15)], vowels[Int(bits >> 10 & 3)], consonants[Int(bits >> 6 & 15)],
      vowels[Int(bits >> 4 & 3)], consonants[Int(bits & 15)],
    ]
  }

  /// The bits of a lower-case word, or nil if it is not a proquint.
  static func decode(_ word: some StringProtocol) -> UInt16? {
    guard word.utf8.count == 5 else { return nil }
    var bits: UInt16 = 0
    for (position, letter) in word.utf8.enumerated() {
      let isVowel = position % 2 == 1
      guard let index = (isVowel ? vowels : consonants).firstIndex(of: letter) else { return nil }
      bits = bits << (isVowel ? 2 : 4) | UInt16(index)
    }
    return bits
  }
}

/// Why a text is not a code. None of the cases repeats what was typed.
package enum CodeError: Error, Equatable, CustomStringConvertible {
  /// Nothing was typed.
  case empty
  /// It does not begin with six digits.
  case room
  /// The six digits stand alone.
  case noSecret
  /// One word only: half of the code is missing.
  case tooFewWords
  /// More words than a code may have.
  case tooManyWords
  /// The word with this number, counted from 1, does not have five letters.
  case wordLength(word: Int)
  /// The word with this number, counted from 1, is not consonant, vowel, consonant, vowel, consonant of the alphabet of
  /// codes.
  case wordLetters(word: Int)

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .empty: "The code is empty."
    case .room: "A code begins with six digits, as in 482153-lusab-babad."
    case .noSecret: "The code lacks its words: it looks like 482153-lusab-babad."
    case .tooFewWords: "The code has only one word, and needs at least two, as in 482153-lusab-babad."
    case .tooManyWords: "The code has too many words."
    case .wordLength(let word): "Word \(word) of the code does not have five letters."
    case .wordLetters(let word): "Word \(word) of the code is mistyped: words go like \"lusab\" or \"babad\"."
    }
  }
}

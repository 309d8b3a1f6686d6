import P2PFSCore

/// The text by which one person lets another one in: `ROOM-SECRET`, for example `482153-lusab-babad`.
///
/// ROOM is all that a signaling server learns. SECRET goes into the handshake (`Credential`) and nowhere else: it is
/// in no description, log or message, and no function of it leaves the machine.
package struct Code: Sendable, Equatable {
  /// Six digits that name the meeting place.
  package let room: String
  /// SECRET in its one spelling, as ASCII: the password of the handshake.
  let password: Secret

  /// A new code of `words` random words from the system's generator (getrandom(2)).
  package static func random(words: Int = Limits.Pairing.words) -> Code {
    precondition((Limits.Pairing.leastWords...Limits.Pairing.mostWords).contains(words))
    // No leading zero, which people drop.
    return Code(
      room: String(UInt32.random(in: 100_000...999_999)),
      words: (0..<words).map { _ in UInt16.random(in: .min ... .max) })
  }

  init(room: String, words: [UInt16]) {
    self.room = room
    password = Secret(count: words.count * 6 - 1) { memory in
      for (index, word) in words.enumerated() {
        if index > 0 { memory[index * 6 - 1] = UInt8(ascii: "-") }
        for (place, letter) in Proquint.letters(word).enumerated() { memory[index * 6 + place] = letter }
      }
    }
  }

  /// Reads a code as a person typed it: in any case, with blanks around it, with blanks or dashes of any kind between its
  /// words (`CodeSpelling`).
  package init(parsing text: String) throws(CodeError) {
    let text = CodeSpelling.plain(text.trimmingBlanks).lowercased()
    guard !text.isEmpty else { throw .empty }
    guard text.utf8.count <= 256 else { throw .tooManyWords }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    let room = String(parts[0])
    guard room.utf8.count == 6, room.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { throw .room }
    guard parts.count > 1, parts[1...] != [""] else { throw .noSecret }
    guard parts.count - 1 >= Limits.Pairing.leastWords else { throw .tooFewWords }
    guard parts.count - 1 <= Limits.Pairing.mostWords else { throw .tooManyWords }
    var words: [UInt16] = []
    for (index, part) in parts.dropFirst().enumerated() {
      guard part.count == 5 else { throw .wordLength(word: index + 1) }
      guard let word = Proquint.decode(part) else { throw .wordLetters(word: index + 1) }
      words.append(word)
    }
    self.init(room: room, words: words)
  }

  /// The whole code, as it is shown to the person who may pass it on. Never to a log.
  package var text: String { "\(room)-\(secret)" }

  /// SECRET, to be shown.
  var secret: String { password.withBytes { String(decoding: $0, as: UTF8.self) } }

  /// Whether both are the same code, in constant time.
  package static func == (one: Code, other: Code) -> Bool {
    one.room == other.room && other.password.withBytes { one.password.equals($0) }
  }
}

extension Code: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The room alone, so that no log ever has the secret. See `text`.
  package var description: String { "\(room)-…" }

  /// As `description`.
  package var debugDescription: String { description }

  /// The room alone, so that no dump has the secret.
  package var customMirror: Mirror { Mirror(self, children: ["room": room]) }
}

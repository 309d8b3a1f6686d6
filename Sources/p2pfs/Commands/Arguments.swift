import CP2PFSLinux
import P2PFSCore
import Glibc
import P2PFSPairing

/// What the program was started with, taken once, before anything else runs: the arguments with every byte of theirs
/// (`String(pathBytes:)`), and secrets, which are wiped where others see them.
///
/// Everybody sees the arguments of all processes, and the user's own processes the environment. The kernel shows both out
/// of this process' memory, so that overwriting them there is all it takes.
struct Arguments: Sendable {
  /// The arguments without the program's name, as `Habits` has them.
  let given: [String]
  /// Variables with secrets, which are in the environment no more, nor in that of children.
  private let secrets: [String: String]

  /// Those of this process.
  static let process = Arguments()

  /// A variable of the environment with a secret; nil if it is not set or empty.
  func secret(_ name: String) -> String? { secrets[name] }

  private init() {
    let words = (0..<Int(CommandLine.argc)).map { index in
      CommandLine.unsafeArgv[index].map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) } ?? []
    }
    let typed = words.dropFirst().map { String(pathBytes: $0) }
    given = Habits.rewritten(typed)
    p2pfs_forbid_dumps()
    secrets = Arguments.takeVariables(["P2PFS_CODE", "P2PFS_TURN_SECRET"])
    Arguments.hide(words, codes: CodeSpelling.codes(in: typed))
  }

  private static func takeVariables(_ names: [String]) -> [String: String] {
    var taken: [String: String] = [:]
    for name in names {
      guard let value = getenv(name) else { continue }
      let length = strlen(value)
      if length > 0 { taken[name] = String(path: value) }
      explicit_bzero(value, length)
      unsetenv(name)
    }
    return taken
  }

  /// Overwrites the secrets in the memory of the arguments, which lie there one behind the other. `codes`: those that
  /// several arguments make up, counted without the program's name.
  private static func hide(_ words: [[UInt8]], codes: [Range<Int>]) {
    guard var memory = p2pfs_first_argument() else { return }
    for (index, word) in words.enumerated() {
      // Byte by byte, and no further than they agree.
      guard word.enumerated().allSatisfy({ memory[$0] == CChar(bitPattern: $1) }), memory[word.count] == 0 else {
        return
      }
      let isInCode = codes.contains { $0.contains(index - 1) && $0.lowerBound < index - 1 }
      for range in isInCode ? [0..<word.count] : secrets(in: word, after: index > 0 ? words[index - 1] : []) {
        for place in range where word[place] != UInt8(ascii: "-") { memory[place] = CChar(UInt8(ascii: "x")) }
      }
      memory += word.count + 1
    }
  }

  /// Where secrets are in an argument, which follows on `before`.
  private static func secrets(in word: [UInt8], after before: [UInt8]) -> [Range<Int>] {
    let option = Array("--turn-secret".utf8)
    if before == option { return [0..<word.count] }
    if word.starts(with: option + [UInt8(ascii: "=")]) { return [(option.count + 1)..<word.count] }
    let found = CodeMask.secrets(in: word)
    // In a spelling that is no ASCII, as with full-width digits.
    guard found.isEmpty, word.contains(where: { $0 >= 0x80 }),
      (try? PeerAddress(parsing: String(pathBytes: word))) != nil
    else { return found }
    return [0..<(word.firstIndex { $0 == UInt8(ascii: "@") || $0 == UInt8(ascii: ":") } ?? word.count)]
  }
}

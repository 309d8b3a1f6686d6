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
  /// The arguments without the program's name.
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
    given = words.dropFirst().map { String(pathBytes: $0) }
    p2pfs_forbid_dumps()
    secrets = Arguments.takeVariables(["P2PFS_CODE", "P2PFS_TURN_SECRET"])
    Arguments.hide(words)
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

  /// Overwrites the secrets in the memory of the arguments, which lie there one behind the other.
  private static func hide(_ words: [[UInt8]]) {
    guard var memory = p2pfs_first_argument() else { return }
    for (index, word) in words.enumerated() {
      // Byte by byte, and no further than they agree.
      guard word.enumerated().allSatisfy({ memory[$0] == CChar(bitPattern: $1) }), memory[word.count] == 0 else {
        return
      }
      for range in secrets(in: word, after: index > 0 ? words[index - 1] : []) {
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
    return CodeMask.secrets(in: word)
  }
}

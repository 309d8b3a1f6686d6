import P2PFSPairing

/// What people type by habit of other programs, or mistype: made into what the program takes, or explained.
enum Habits {
  /// The arguments as ArgumentParser reads them.
  static func rewritten(_ arguments: [String]) -> [String] { splittingMountOptions(joiningCodes(arguments)) }

  /// `-oro,uid=7` as `-o ro,uid=7`: mount(8) and sshfs take both, and ArgumentParser would take the sign for the end of an
  /// option's name.
  static func splittingMountOptions(_ arguments: [String]) -> [String] {
    guard arguments.first == "mount" else { return arguments }
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].flatMap { word in
      word.hasPrefix("-o") && word.utf8.count > 2 ? ["-o", String(word.dropFirst(2))] : [word]
    } + arguments[end...]
  }

  /// The arguments with each code that was typed with blanks in one of them. Not where files are named.
  static func joiningCodes(_ arguments: [String]) -> [String] {
    switch arguments.first {
    case "mount", "pipe", "receive", "forward": CodeSpelling.joining(arguments)
    case "send", "export":
      arguments.firstIndex { $0 == "--to" || $0 == "--code" }.map { option in
        Array(arguments[...option]) + CodeSpelling.joining(Array(arguments[(option + 1)...]))
      } ?? arguments
    default: arguments
    }
  }

  /// The command that was meant by one that does not exist; nil if none is like it.
  static func command(like word: String, among commands: [String]) -> String? {
    let near = commands.map { ($0, distance(Array(word.lowercased().utf8), Array($0.utf8))) }.min { $0.1 < $1.1 }
    // One mistake in three letters.
    guard let near, near.1 <= max(1, near.0.utf8.count / 3) else { return synonyms[word.lowercased()] }
    return near.0
  }

  /// Commands of other programs for the same thing.
  private static let synonyms = [
    "share": "export", "serve": "export", "host": "export", "connect": "mount", "join": "mount", "get": "receive",
    "recv": "receive", "put": "send", "copy": "send", "cp": "send", "tunnel": "forward", "server": "signal",
  ]

  /// What to do instead of an option that `command` does not have; nil if nothing is known of it.
  static func hint(forOption option: String, of command: String) -> String? {
    let letter = option.hasPrefix("--") ? option : String(option.prefix(2))
    return hints[command]?[letter] ?? common[letter]
  }

  private static let common = [
    "-V": "The version is shown by --version.", "--debug": "More is said with --verbose.",
    "-d": "More is said with --verbose.", "--server": "The signaling server is named by --signal.",
    "--port": "The port goes with the signaling server: --signal HOST:PORT, or CODE@HOST:PORT.",
  ]

  private static let hints = [
    "mount": [
      "-p": "There is no ssh server to name the port of. A signaling server's port goes into the code: CODE@HOST:PORT.",
      "-C": "Nothing is compressed; leave it out.", "-r": "To mount read-only: --read-only, or -o ro.",
      "-F": "There is no ssh, whose configuration could be read; leave it out.",
      "-i": "There is no ssh key: the code is what lets one in. Leave it out.",
      "-s": "Leave it out: several threads are no danger here.", "-t": "The type is always fuse.p2pfs; leave it out.",
      "-d": "To see more of what happens: -f -v.", "--options": "Mount options follow on -o.",
      "--ro": "To mount read-only: --read-only, or -o ro.",
    ],
    "umount": [
      "-f": "To unmount although it is in use: --lazy.", "--force": "To unmount although it is in use: --lazy.",
    ],
    "export": [
      "-p": "The port of a signaling server goes with its name: --signal HOST:PORT.",
      "-r": "To share read-only: --read-only.",
      "--ro": "To share read-only: --read-only.",
    ],
    "forward": [
      "-p": "There is no ssh server to name the port of. A signaling server's port goes into the code: CODE@HOST:PORT.",
      "-f": "It stays in the foreground; put & behind the command.", "-C": "Nothing is compressed; leave it out.",
      "-i": "There is no ssh key: the code is what lets one in. Leave it out.",
    ],
    "send": ["-r": "Directories are sent whole in any case; leave it out."],
    "receive": ["-o": "Where to put it: --into DIRECTORY.", "-f": "To replace what is there: --overwrite."],
  ]

  /// Letters that are to be changed, put in, left out or exchanged with the next one to make one word of the other.
  static func distance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var before: [Int] = []
    var last = Array(0...other.count)
    for (row, letter) in one.enumerated() {
      var line = [row + 1]
      for (column, wanted) in other.enumerated() {
        var least = min(line[column] + 1, last[column + 1] + 1, last[column] + (letter == wanted ? 0 : 1))
        if row > 0, column > 0, letter == other[column - 1], one[row - 1] == wanted {
          least = min(least, before[column - 1] + 1)
        }
        line.append(least)
      }
      (before, last) = (last, line)
    }
    return last[other.count]
  }
}

import Testing

extension EndToEnd {
  /// What the manual says of the command line, held against what the program takes.
  @Suite struct Manual {
    private static let pages: String = {
      // This file is Tests/EndToEndTests/ManualTests.swift.
      #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/man"
    }()

    /// Long options in a text.
    private static func options(in text: some StringProtocol) -> Set<String> {
      Set(String(text).matches(of: /(?:^|[^\w\-])--([a-z][a-z\-]+)/).map { String($0.1) })
    }

    /// Each page, and the commands that it describes.
    private static let commands = [
      "export": ["export"], "mount": ["mount", "umount"], "pipe": ["pipe"], "send": ["send", "receive"],
      "receive": ["receive"], "forward": ["forward"], "signal": ["signal"], "completions": ["completions"],
    ]

    @Test func `each option of a command is in its manual, and no other`() throws {
      try Stage.run { stage in
        let computer = try stage.computer("a")
        func page(_ name: String) throws -> String {
          try computer.shell("mandoc -T ascii \"$PAGE\" | col -b", ["PAGE": "\(Self.pages)/\(name).1"])
        }
        let common: Set = ["help", "version", "quiet", "verbose"]
        #expect(common.isSubset(of: Self.options(in: try page("p2pfs"))))
        for (name, commands) in Self.commands {
          var taken: Set<String> = []
          for command in commands {
            let help = try computer.p2pfs(command, "--help")
            #expect(help.status == 0)
            // Each option has a line of its own; what is said of others is prose.
            let lines = help.output.split(separator: "\n").filter { $0.hasPrefix("  -") }
            taken.formUnion(Self.options(in: lines.joined(separator: "\n")))
          }
          taken.subtract(common)
          let text = try page("p2pfs-" + name)
          let described = Self.options(in: text)
          #expect(taken.isSubset(of: described), "\(name): not in the manual: \(taken.subtracting(described))")
          let synopsis = try #require(text.split(separator: "DESCRIPTION").first)
          let promised = Self.options(in: synopsis).subtracting(common)
          #expect(promised.isSubset(of: taken), "\(name): not in the program: \(promised.subtracting(taken))")
        }
      }
    }
  }
}

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

    /// The commands; each has a page of its own.
    private static let commands = [
      "export", "mount", "umount", "pipe", "send", "receive", "forward", "signal", "completions",
    ]

    @Test func `each option of a command is in its manual, and no other`() throws {
      try Stage.run { stage in
        let computer = try stage.computer("a")
        func page(_ name: String) throws -> String {
          try computer.shell("mandoc -T ascii \"$PAGE\" | col -b", ["PAGE": "\(Self.pages)/\(name).1"])
        }
        let common: Set = ["help", "version", "quiet", "verbose"]
        #expect(common.isSubset(of: Self.options(in: try page("p2pfs"))))
        for command in Self.commands {
          let help = try computer.p2pfs(command, "--help")
          #expect(help.status == 0)
          // Each option has a line of its own; what is said of others is prose.
          let lines = help.output.split(separator: "\n").filter { $0.hasPrefix("  -") }
          let taken = Self.options(in: lines.joined(separator: "\n")).subtracting(common)
          let text = try page("p2pfs-" + command)
          let described = Self.options(in: text)
          #expect(taken.isSubset(of: described), "\(command): not in the manual: \(taken.subtracting(described))")
          let synopsis = try #require(text.split(separator: "DESCRIPTION").first)
          let promised = Self.options(in: synopsis).subtracting(common)
          #expect(promised.isSubset(of: taken), "\(command): not in the program: \(promised.subtracting(taken))")
        }
      }
    }
  }
}

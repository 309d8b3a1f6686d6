import Testing

/// Every parser of outside input is fuzzed.
@Suite struct ParserTests {
  /// Parsers, by the name of their type, and the file of Tests/fuzz that reaches them.
  private static let targets = [
    "TransferMessage": "Transfer", "SessionDescription": "Description", "Fingerprint": "Description",
    "DataChannelEstablishment": "Handshake",
    "Candidate": "Meeting", "MeetingMessage": "Meeting", "HandshakeMessage": "Handshake", "Code": "Source",
    "PeerAddress": "Source", "ServerAddress": "Source", "Endpoint": "Forward", "ForwardName": "Forward",
    "ForwardPolicy": "Forward", "ForwardSpec": "Forward", "ChannelMessage": "ChannelMessage", "Join": "Join",
    "SignalMessage": "Signal", "StunMessage": "Signal", "NetworkMessage": "Network", "Request": "Request",
    "Hello": "Hello", "Path": "Path", "Header": "Request",
  ]

  /// Parsers of what p2pfs itself has written, in files that only its user can write.
  private static let own: Set = ["SavedExport"]

  @Test func `each type that parses has a fuzz target that names it`() {
    for (type, target) in Self.targets {
      #expect(SourceTree.text("Tests/fuzz/\(target).swift").contains(type), "Tests/fuzz/\(target).swift: \(type)")
    }
  }

  @Test func `each initializer that parses belongs to one of them`() {
    for file in SourceTree.files(in: "Sources") {
      var type = ""
      for line in file.lines {
        if line.utf8.first != UInt8(ascii: " "), SourceTree.find("{", in: line) {
          let words = line.split { $0 == " " || $0 == ":" }
          let kind = words.firstIndex { ["class", "struct", "enum", "extension"].contains($0) }
          if let kind, kind + 1 < words.count { type = String(words[kind + 1]) }
        }
        guard SourceTree.find("init(parsing ", in: line) || SourceTree.find("init?(parsing ", in: line) else {
          continue
        }
        #expect(Self.targets[type] != nil || Self.own.contains(type), "\(file.path): \(type)")
      }
    }
  }
}

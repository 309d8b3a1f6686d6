import P2PFSCore
import Testing

@testable import P2PFSPairing

@Suite struct CodeMaskTests {
  @Test(arguments: [
    ("482153-lusab-babad", "482153-xxxxx-xxxxx"),
    ("--code=482153-lusab-babad-gutih", "--code=482153-xxxxx-xxxxx-xxxxx"),
    ("482153-Lusab-babad@wss://host:1/:/photos", "482153-xxxxx-xxxxx@wss://host:1/:/photos"),
    (" 482153-lusab:/a", " 482153-xxxxx:/a"), ("482153-lusa", "482153-xxxx"),
    ("Unexpected argument '482153-lusab-babad'", "Unexpected argument '482153-xxxxx-xxxxx'"),
    ("482153-lusab 482154-babad", "482153-xxxxx 482154-xxxxx"),
    ("482153 lusab babad", "482153 xxxxx xxxxx"), ("482153–Lusab–babad@host", "482153–xxxxx–xxxxx@host"),
    ("482153 - lusab - babad:/x", "482153 - xxxxx - xxxxx:/x"), ("482153-lusab – babad", "482153-xxxxx – xxxxx"),
    ("'482153 lusab babad'", "'482153 xxxxx xxxxx'"), ("482153 files sent", "482153 files sent"),
    // No codes.
    ("1482153-lusab", "1482153-lusab"), ("x482153-lusab", "x482153-lusab"), ("482153", "482153"),
    ("482153-", "482153-"),
    ("48215-lusab", "48215-lusab"), ("482153-1", "482153-1"), ("482153-photo1", "482153-photo1"), ("", ""),
  ])
  func `what may be a code is hidden, but for its room`(_ pair: (String, String)) {
    #expect(CodeMask.masked(pair.0) == pair.1)
  }
}

@Suite struct GrammarTests {
  @Test(
    "Sixteen bits are a word, and the word is the bits",
    arguments: [
      (0x7F00, "lusab"), (0x0001, "babad"), (0x0000, "babab"), (0xFFFF, "zuzuz"), (0x3F54, "gutih"),
    ] as [(UInt16, String)])
  func proquints(_ bits: UInt16, _ word: String) {
    #expect(Proquint.encode(bits) == word)
    #expect(Proquint.decode(word) == bits)
  }

  @Test("Every code that is made reads back")
  func random() throws {
    for words in [2, 3, 16] {
      let code = Code.random(words: words)
      #expect(try Code(parsing: code.text) == code)
      #expect(code.room.utf8.count == 6)
    }
    #expect(Code.random() != Code.random())
  }

  @Test(
    "A code is read in any case, with blanks around",
    arguments: [
      "482153-lusab-babad", " 482153-lusab-babad\n", "482153-LUSAB-Babad", "\t482153-Lusab-babad ",
    ])
  func generous(_ text: String) throws {
    let code = try Code(parsing: text)
    #expect(code.room == "482153")
    #expect(code.text == "482153-lusab-babad")
  }

  @Test(
    "A code is read as people type, dictate and paste it",
    arguments: [
      "482153 lusab babad", "482153  lusab   babad", "482153 - lusab - babad", "482153–lusab–babad",
      "482153—lusab—babad", "482153‐lusab‑babad", "482153−lusab−babad", "482153 – Lusab – BABAD",
      "\u{feff}482153-lusab-babad\u{200b}",
      "'482153-lusab-babad'", "“482153-lusab-babad”", "„482153 lusab babad“", "`482153-lusab-babad`\n",
      "４８２１５３－ｌｕｓａｂ－ｂａｂａｄ", "４８２１５３　ＬＵＳＡＢ　ＢＡＢＡＤ", "482153\u{a0}lusab\u{2009}babad",
      "482153-lu\u{ad}sab-babad",
    ])
  func spellings(_ text: String) throws {
    #expect(try Code(parsing: text).text == "482153-lusab-babad")
    #expect(try PeerAddress(parsing: text).peer == .code(try Code(parsing: "482153-lusab-babad")))
    let whole = try PeerAddress(parsing: text.trimmingBlanks + "@192.168.1.5:/a b")
    #expect(whole.server?.url == "ws://192.168.1.5:11985" && whole.path == "a b")
  }

  @Test(
    "Nothing but the spelling is forgiven",
    arguments: [
      "482153 lusab", "48215 3-lusab-babad", "482153-lus ab-babad", "482153-lusab--babad", "482153-1usab-babad",
      "482153_lusab_babad", "482153lusab-babad", "482153-lusab-babad-", "-482153-lusab-babad", "482153.lusab.babad",
      "482153-lusab-bаbad", "４８２１５-lusab-babad",
    ])
  func noCode(_ text: String) {
    #expect(throws: CodeError.self) { try Code(parsing: text) }
  }

  @Test(
    "Codes are found that the shell has split into words",
    arguments: [
      (["mount", "482153", "lusab", "babad@host:/x", "mnt"], ["mount", "482153 lusab babad@host:/x", "mnt"]),
      (["pipe", "482153", "–", "LUSAB", "-", "babad"], ["pipe", "482153 – LUSAB - babad"]),
      (["pipe", "482153", "lusab"], ["pipe", "482153", "lusab"]),
      (["pipe", "482153", "mnt", "babad"], ["pipe", "482153", "mnt", "babad"]),
      (["mount", "482153-lusab-babad", "mnt"], ["mount", "482153-lusab-babad", "mnt"]),
      (["x", "482153", "482154", "lusab", "babad", "-f"], ["x", "482153", "482154 lusab babad", "-f"]), ([], []),
    ])
  func words(_ arguments: [String], _ joined: [String]) {
    #expect(CodeSpelling.joining(arguments) == joined)
  }

  @Test(
    "What is not a code is told why",
    arguments: [
      ("", .empty), ("  ", .empty), ("lusab-babad", .room), ("48215-lusab-babad", .room), ("48215x-lusab-babad", .room),
      ("4821533-lusab-babad", .room), ("٤٨٢١٥٣-lusab-babad", .room), ("482153", .noSecret), ("482153-", .noSecret),
      ("482153-lusab", .tooFewWords), ("482153-lusab-baba", .wordLength(word: 2)),
      ("482153--babad", .wordLength(word: 1)),
      ("482153-lusab-babac", .wordLetters(word: 2)), ("482153-lesab-babad", .wordLetters(word: 1)),
      ("482153-lusab-babad-", .wordLength(word: 3)), ("482153-lusáb-babad", .wordLetters(word: 1)),
      ("482153" + String(repeating: "-babab", count: 17), .tooManyWords),
      ("482153-" + String(repeating: "b", count: 9999), .tooManyWords),
    ] as [(String, CodeError)])
  func notACode(_ text: String, _ error: CodeError) {
    #expect(throws: error) { try Code(parsing: text) }
  }

  @Test(
    "Sources are read whole",
    arguments: [
      ("482153-lusab-babad", nil, ""),
      ("482153-lusab-babad@192.168.1.5", "ws://192.168.1.5:11985", ""),
      ("482153-lusab-babad@192.168.1.5:80:/a/b", "ws://192.168.1.5:80", "a/b"),
      ("482153-lusab-babad:/a@b:/c", nil, "a@b:/c"),
      ("482153-lusab-babad:/", nil, ""),
      ("482153-lusab-babad://a//", nil, "a"),
      (" 482153-LUSAB-babad@example.org:/x ", "wss://example.org:11985", "x"),
      ("482153-lusab-babad@[::1]:/x", "ws://[::1]:11985", "x"),
      ("482153-lusab-babad@[2001:db8::1]:99:/x", "wss://[2001:db8::1]:99", "x"),
      ("482153-lusab-babad@ws://example.org:/x", "ws://example.org:11985", "x"),
      ("482153-lusab-babad@wss://10.0.0.1:7/deep/er:/x y", "wss://10.0.0.1:7/deep/er", "x y"),
      ("482153-lusab-babad@WSS://example.org/", "wss://example.org:11985", ""),
    ] as [(String, String?, String)])
  func sources(_ text: String, _ url: String?, _ path: String) throws {
    let source = try PeerAddress(parsing: text)
    #expect(source.peer == .code(try Code(parsing: "482153-lusab-babad")))
    #expect(source.server?.url == url)
    #expect(source.path == path)
  }

  @Test("A peer's name has no hyphen")
  func names() throws {
    #expect(try PeerAddress(parsing: "Alice:/photos") == PeerAddress(peer: .name("alice"), path: "photos"))
    #expect(try PeerAddress(parsing: "bob_2@localhost").server?.url == "ws://localhost:11985")
    for text in ["a b", "ä", ".a", "_a", "a/b", String(repeating: "a", count: 64)] {
      #expect(throws: MountSourceError.name) { try PeerAddress(parsing: text) }
    }
  }

  @Test(
    "What cannot be mounted is told why",
    arguments: [
      ("", .empty), ("@host", .noPeer), (":/x", .noPeer), ("482153", .code(.noSecret)), ("a-b", .code(.room)),
      ("482153-lusab-babad:x", .path), ("alice:", .path), ("alice@", .server(.empty)), ("alice@:/x", .server(.empty)),
      ("alice@http://x", .server(.unknownScheme)), ("alice@host:0", .server(.invalidPort)),
      ("alice@host:65536", .server(.invalidPort)), ("alice@host:x", .server(.invalidPort)),
      ("alice@2001:db8::1", .server(.unbracketedIPv6)), ("alice@ho st", .server(.invalidHost)),
    ] as [(String, MountSourceError)])
  func notASource(_ text: String, _ error: MountSourceError) {
    #expect(throws: error) { try PeerAddress(parsing: text) }
  }

  @Test(
    "Without a scheme it is ws where no certificate can be had",
    arguments: [
      ("localhost", "ws"), ("LOCALHOST", "ws"), ("127.0.0.1", "ws"), ("127.9.9.9", "ws"), ("10.1.2.3", "ws"),
      ("172.16.0.1", "ws"), ("172.31.255.255", "ws"), ("172.32.0.1", "wss"), ("172.15.0.1", "wss"),
      ("192.168.0.1", "ws"), ("192.169.0.1", "wss"), ("169.254.1.1", "ws"), ("8.8.8.8", "wss"), ("100.64.0.1", "wss"),
      ("[::1]", "ws"), ("[::]", "wss"), ("[fe80::1]", "ws"), ("[fe80::1%eth0]", "ws"), ("[febf::1]", "ws"),
      ("[fec0::1]", "wss"), ("[fd00::1]", "ws"), ("[fc00::1]", "ws"), ("[2001:db8::1]", "wss"),
      ("[::ffff:192.168.1.1]", "ws"), ("[::ffff:8.8.8.8]", "wss"), ("example.org", "wss"), ("nas", "wss"),
    ])
  func schemes(_ host: String, _ scheme: String) throws {
    #expect(try ServerAddress(parsing: host).scheme.rawValue == scheme)
  }

  @Test(
    "An address reads back from its shortest form",
    arguments: [
      "192.168.1.5", "example.org", "example.org:80", "[fe80::1%eth0]:5", "ws://example.org", "wss://localhost:1/x",
    ])
  func descriptions(_ text: String) throws {
    let address = try ServerAddress(parsing: text)
    #expect(address.description == text)
    #expect(try ServerAddress(parsing: address.url).port == address.port)
  }

  @Test("A zone does not leave this machine")
  func zones() throws {
    #expect(try ServerAddress(parsing: "[fe80::1%eth0]").url == "ws://[fe80::1]:11985")
  }

  @Test(
    "What is not a server is told why",
    arguments: [
      ("", .empty), ("host/path", .pathWithoutScheme), ("ws://", .invalidHost), ("ws://host?x", .invalidHost),
      ("ws://host/a?x", .invalidPath), ("ws://host/a#x", .invalidPath), ("[::1", .invalidHost),
      ("[::1]x", .invalidHost),
      ("[1.2.3.4]", .invalidHost), ("1.2.3", .invalidHost), ("256.1.1.1", .invalidHost), ("-a", .invalidHost),
      ("a..b", .invalidHost), ("user@host", .invalidHost), ("host:", .invalidPort), ("host:+1", .invalidPort),
      ("[fe80::1%a/b]", .pathWithoutScheme), ("hö", .invalidHost), ("a\u{0}b", .invalidHost),
      (String(repeating: "a", count: 64), .invalidHost), (String(repeating: "a.", count: 300), .invalidHost),
    ] as [(String, ServerAddressError)])
  func notAServer(_ text: String, _ error: ServerAddressError) {
    #expect(throws: error) { try ServerAddress(parsing: text) }
  }
}

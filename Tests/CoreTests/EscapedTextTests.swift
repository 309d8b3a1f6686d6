import Testing

@testable import P2PFSCore

@Suite struct EscapedTextTests {
  @Test(arguments: [
    ("\u{1b}[2J", "\\u{1b}[2J"), ("a\nb\u{7f}\u{9b}", "a\\u{a}b\\u{7f}\\u{9b}"), ("\u{202e}gpj", "\\u{202e}gpj"),
    ("\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}"), ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
    ("a\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}", "a\\u{200b}\\u{200d}\\u{2060}\\u{feff}\\u{ad}"),
    ("x\u{e0000}\u{e0041}", "x\\u{e0000}\\u{e0041}"), ("grün 漢字 é 🙂 C:\\x", "grün 漢字 é 🙂 C:\\x"),
  ])
  func `what steers a terminal or is not seen is shown escaped, and all else as it is`(_ pair: (String, String)) {
    #expect(pair.0.escaped == pair.1)
  }

  @Test func `no two names look alike`() {
    #expect("\u{1b}".escapedName == "\\u{1b}" && "\\u{1b}".escapedName == "\\\\u{1b}")
  }
}

import Testing
import P2PFSWire

@Suite struct LinkTargetTests {
  @Test(
    arguments: [
      ("a", 0, true), ("a/b", 0, true), ("./a", 0, true), ("../a", 1, true), ("../../a", 2, true), ("..", 1, true),
      ("/a", 5, false), ("..", 0, false), ("../a", 0, false), ("../../a", 1, false), ("a/../b", 3, false),
      ("a/..", 3, false), (".//..//..", 1, false),
    ])
  func `a link stays inside if it cannot leave it by any way`(_ example: (String, Int, Bool)) {
    #expect(LinkTarget.staysInside(Array(example.0.utf8), depth: example.1) == example.2)
  }

  @Test(arguments: [
    ("x", true), ("./x", true), ("../x", true), ("../../x", false), ("/etc", false), ("x/../y", false), ("", false),
    ("..", true), ("../..", false), ("a/b/c", true), ("a\0", false),
  ])
  func `a link travels if it stays inside of what is sent`(_ target: String, _ stays: Bool) throws {
    #expect(LinkTarget.staysInside(Array(target.utf8), of: try Path(Array("top/dir/link".utf8))) == stays)
    #expect(!LinkTarget.staysInside(Array(target.utf8), of: try Path(Array("link".utf8))))
  }
}

@testable import P2PFSCore
import Testing

@Suite struct MountInfoTests {
  private func table(_ lines: String...) -> MountInfo { MountInfo(Array(lines.joined(separator: "\n").utf8)) }

  @Test func `a line gives device, place, type and source`() {
    let info = table(
      #"36 35 98:0 / /mnt\040a rw,noatime master:1 - ext3 /dev/root rw,errors=continue"#,
      "40 35 0:51 / /mnt/b rw - fuse.p2pfs p2pfs:host rw")
    #expect(
      info.entries == [
        .init(device: 98 << 8, mountpoint: "/mnt a", type: "ext3", source: "/dev/root"),
        .init(device: 51, mountpoint: "/mnt/b", type: "fuse.p2pfs", source: "p2pfs:host"),
      ])
    #expect(info.entries.map(\.isP2PFS) == [false, true])
  }

  @Test func `blanks and other bytes are escaped in it`() {
    let found = table(#"1 2 3:4 / /a\040b\011c\012d\134e\0\99 rw - t\040u s\040v rw"#)
    #expect(found.entries.map(\.mountpoint) == ["/a b\tc\nd\\e\\0\\99"])
    #expect(found.entries.map(\.type) == ["t u"] && found.entries.map(\.source) == ["s v"])
  }

  @Test func `the last mount at a place is the visible one`() {
    let info = table(
      "1 0 0:1 / /a rw - tmpfs one rw", "2 1 0:2 / /a rw - tmpfs two rw", "3 1 0:3 / /a/b rw - tmpfs three rw")
    #expect(info.visible(at: "/a")?.source == "two")
    #expect(info.visible(at: "/a/") == nil)
  }

  @Test func `large device numbers are encoded as in st_dev`() {
    #expect(table("1 0 259:1048575 / /a rw - ext4 x rw").entries.first?.device == 0xFFF1_03FF)
  }

  @Test(arguments: ["", "1 0", "1 0 x:y / /a rw - t s rw", "1 0 1 / /a rw", "\n\n"])
  func `a broken line is left out`(_ text: String) { #expect(table(text).entries.isEmpty) }

  @Test func `a line without its second half names no type`() {
    #expect(table("1 0 8:1 / /a").entries == [.init(device: 2049, mountpoint: "/a", type: "", source: "")])
  }

  @Test func `names need not be UTF-8, and a backslash without digits is itself`() {
    let info = MountInfo(Array("1 0 8:1 / /a\\134\\x".utf8) + [0xFF] + Array(" rw - t s rw".utf8))
    #expect(info.entries.first?.mountpoint.pathBytes == Array("/a\\\\x".utf8) + [0xFF])
  }

  @Test func `this process sees its root`() { #expect(MountInfo().visible(at: "/") != nil) }
}

@Suite struct HexTests {
  @Test func `digits are two a byte`() {
    #expect(Hex.encode([0, 9, 0xAF, 0xFF]) == "0009afff")
    #expect(Hex.encode([0xAF], uppercase: true) == "AF")
  }

  @Test(arguments: ["", "00", "0009afFF"])
  func `digits of either case are read`(_ text: String) {
    #expect(Hex.decode(text).map { Hex.encode($0) } == text.lowercased())
  }

  @Test(arguments: ["0", "0g", "+1", " 1", "0x", "é0", "１１"])
  func `other text is not`(_ text: String) { #expect(Hex.decode(text) == nil) }
}

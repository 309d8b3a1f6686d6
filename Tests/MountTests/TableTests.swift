import P2PFSWire
import Testing

@testable import P2PFSFUSE
@testable import P2PFSMount

/// The numbers that files show.
@Suite struct InodeNumbersTests {
  private let numbers = InodeNumbers(device: 8)
  private func number(_ device: UInt64, _ inode: UInt64) -> UInt64 {
    numbers.number(FileIdentity(device: device, inode: inode, generation: 0))
  }

  @Test func `on the root's filesystem they are the peer's own`() {
    for inode in [1, 2, 4_711, UInt64(Int64.max)] as [UInt64] { #expect(number(8, inode) == inode) }
    let born = FileIdentity(device: 8, inode: 5, generation: 99)
    #expect(numbers.number(born) == 5)
  }

  @Test func `those of other filesystems are others, and the same each time`() {
    var seen: Set<UInt64> = []
    for device in 9...12 as ClosedRange<UInt64> {
      for inode in 1...1_000 as ClosedRange<UInt64> {
        let number = number(device, inode)
        #expect(number >> 63 == 1 && number == self.number(device, inode))
        seen.insert(number)
      }
    }
    #expect(seen.count == 4_000)
  }

  @Test func `none is 0`() {
    #expect(number(8, 0) != 0 && number(0, 0) != 0 && number(9, 0) != 0)
  }

  @Test func `a directory that claims to be one above it gets another`() {
    let impostors = Set((1...1_000).map { numbers.number(ofImpostor: UInt64($0)) })
    #expect(impostors.count == 1_000 && impostors.allSatisfy { $0 >> 63 == 1 })
  }
}

/// The table of mounts, as the kernel writes it.
@Suite struct MountTableTests {
  private func table(_ lines: String...) -> MountTable {
    MountTable(Array(lines.joined(separator: "\n").utf8))
  }

  @Test func `a line has a place, a device, a type and a source`() {
    let found = table(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
      "37 35 0:61 / /home/a/mnt rw,nosuid - fuse.p2pfs p2pfs#photos rw,user_id=0")
    #expect(
      found.entries == [
        .init(major: 98, minor: 0, mountpoint: "/mnt2", type: "ext3", source: "/dev/root"),
        .init(major: 0, minor: 61, mountpoint: "/home/a/mnt", type: "fuse.p2pfs", source: "p2pfs#photos"),
      ])
  }

  @Test func `blanks and other bytes are escaped in it`() {
    let found = table(#"1 2 3:4 / /a\040b\011c\012d\134e\0\99 rw - t\040u s\040v rw"#)
    #expect(found.entries.map(\.mountpoint) == ["/a b\tc\nd\\e\\0\\99"])
    #expect(found.entries.map(\.type) == ["t u"] && found.entries.map(\.source) == ["s v"])
  }

  @Test func `of two mounts at one place the last is seen`() {
    let found = table("1 2 3:4 / /a rw - one x rw", "1 2 3:5 / /a rw - two x rw", "1 2 3:6 / /ab rw - three x rw")
    #expect(found.visible(at: "/a")?.type == "two")
    #expect(found.visible(at: "/") == nil)
  }

  @Test func `what is no line is left out`() {
    let found = table(
      "", "36", "36 35 98:0 /mnt1 /mnt2 rw", "36 35 98 /a /b rw - t s rw", "36 35 98:x /a /b rw - t s rw",
      "36 35 98:99999999999 /a /b rw - t s rw", "36 35 98:0 /a - t s", "36 35 98:0 /a /b rw - t", "- - - - - - -",
      "1 2 3:4 / /good rw - t s rw")
    #expect(found.entries.map(\.mountpoint) == ["/good"])
  }

  @Test func `the kernel's own is read`() {
    #expect(MountTable().visible(at: "/proc")?.type == "proc")
  }
}

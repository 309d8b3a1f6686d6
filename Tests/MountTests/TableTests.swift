import P2PFSWire
import Testing

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

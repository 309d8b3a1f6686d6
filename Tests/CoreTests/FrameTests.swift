import Glibc
import Testing

@testable import P2PFSCore

@Suite struct FrameTests {
  @Test func aFrameHoldsACopyOfWhatItWasMadeOf() {
    let frame = Frame(copying: [1, 2, 3] as [UInt8])
    #expect(frame.count == 3 && frame.capacity == 3)
    #expect(Array(frame.bytes) == [1, 2, 3])
    #expect(frame.spare.isEmpty)
  }

  @Test func aFrameTakesWhatMallocGave() throws {
    let memory = try #require(malloc(2))
    memory.storeBytes(of: 0x0201, as: UInt16.self)
    let frame = Frame(adopting: memory, count: 2)
    #expect(Array(frame.bytes) == [1, 2])
  }

  @Test func anEmptyFrameIsOne() {
    let frame = Frame(capacity: 0)
    #expect(frame.count == 0)
    #expect(Array(frame.bytes).isEmpty)
  }

  @Test func aSliceKeepsItsFrameAlive() {
    var frame: Frame? = Frame(copying: [1, 2, 3, 4] as [UInt8])
    weak let watched = frame
    let slice = frame.map { FrameSlice($0, 1..<3) }
    frame = nil
    #expect(watched != nil)
    #expect(slice.map { Array($0.bytes) } == [2, 3])
  }
}

@Suite struct InstantTests {
  @Test func timeIsCountedBothWays() {
    let start = Instant(nanoseconds: 5_000_000_000)
    #expect(start.advanced(by: 1.5).seconds(since: start) == 1.5)
    #expect(start.seconds(since: start.advanced(by: 2)) == -2)
    #expect(start < start.advanced(by: 0.001))
  }

  @Test func theClockDoesNotGoBack() {
    let first = Instant.now
    #expect(!(Instant.now < first))
  }
}

@Suite struct LimitsTests {
  @Test func aPieceOfDataFitsAMessage() {
    #expect(Limits.Wire.data + 64 <= Limits.Wire.message)
  }

  @Test func theLargestSizeAndTheLargestReadHaveASum() {
    let (_, overflow) = Limits.Wire.fileSize.addingReportingOverflow(Int64(Limits.Wire.read))
    #expect(!overflow)
  }
}

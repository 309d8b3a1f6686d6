import P2PFSCore
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSMount

@Suite struct ReadStreamTests {
  private let version = Attributes.Version(
    size: 100, modified: Timestamp(seconds: 1, nanoseconds: 0), changed: Timestamp(seconds: 1, nanoseconds: 0))
  private let newer = Attributes.Version(
    size: 100, modified: Timestamp(seconds: 2, nanoseconds: 0), changed: Timestamp(seconds: 2, nanoseconds: 0))
  private let now = Instant(nanoseconds: 1)

  private func piece(_ offset: Int64, _ data: FrameSlice, _ version: Attributes.Version? = nil) -> Piece {
    Piece(offset: offset, version: version ?? self.version, data: data)
  }

  private func slice(_ count: Int, _ byte: UInt8 = 1) -> FrameSlice {
    FrameSlice(Frame(copying: [UInt8](repeating: byte, count: count)), 0..<count)
  }

  @Test func `a read is answered when its pieces are there`() {
    var stream = ReadStream<Int>()
    let (answer, asks) = stream.read(
      7, at: 1_000_000, count: 65_536, size: 5_000_000, budget: 0, current: version, now: now)
    #expect(answer == nil)
    #expect(asks == [ReadStream<Int>.Ask(segment: 1, offset: 1_000_000, count: 65_536)])
    let result1 = stream.receive(piece(1_000_000, slice(32_768)), isLast: false, for: 1, current: version, now: now)
    #expect(result1.answers.isEmpty)
    let done = stream.receive(piece(1_032_768, slice(32_768)), isLast: true, for: 1, current: version, now: now).answers
    #expect(done.map(\.ticket) == [7])
    #expect((try? done[0].result.get().map(\.count)) == [32_768, 32_768])
    #expect(stream.held == 0)
  }

  @Test func `a read of what is here needs nobody to wait`() throws {
    var stream = ReadStream<Int>()
    let total = ReadAheadTotal()
    stream.join(total)
    let ask = stream.expectStart(131_072, now: now)
    func read(_ offset: Int64, _ count: Int) -> (
      result: Result<[FrameSlice], Errno>, isCurrent: Bool, asks: [ReadStream<Int>.Ask]
    )? {
      stream.readAtOnce(at: offset, count: count, size: 1 << 20, budget: 1 << 25, current: version, now: now)
    }
    #expect(total.bytes == 131_072)
    #expect(read(0, 4_096) == nil)
    _ = stream.receive(piece(0, slice(131_072)), isLast: true, for: ask.segment, current: version, now: now)
    let first = try #require(read(0, 4_096))
    #expect(try first.result.get().map(\.count) == [4_096] && first.isCurrent && first.asks.isEmpty)
    #expect(read(131_000, 4_096) == nil, "a part of it is missing")
    #expect(stream.readAtOnce(at: 4_096, count: 10, size: 1 << 20, budget: 0, current: newer, now: now) == nil)
    let rest = try #require(read(4_096, 126_976))
    #expect(!rest.asks.isEmpty, "reads in a row ask ahead")
    #expect(total.bytes == stream.held && stream.held == rest.asks.reduce(0) { $0 + $1.count })
    stream.leave()
    #expect(total.bytes == 0)
  }

  @Test func `reads in a row ask ahead more and more, random ones not at all`() {
    var stream = ReadStream<Int>()
    var ahead: [Int] = []
    var offset: Int64 = 0
    for number in 0..<8 {
      let (_, asks) = stream.read(
        number, at: offset, count: 131_072, size: 1 << 30, budget: 1 << 25, current: version, now: now)
      ahead.append(asks.reduce(0) { $0 + $1.count })
      for ask in asks {
        _ = stream.receive(piece(ask.offset, slice(1)), isLast: false, for: ask.segment, current: version, now: now)
      }
      offset += 131_072
    }
    #expect(ahead.reduce(0, +) >= 2 * 8 * 131_072)
    var random = ReadStream<Int>()
    for place: Int64 in [100_000_000, 5_000_000, 900_000_000, 50_000_000] {
      let (_, asks) = random.read(
        1, at: place, count: 16_384, size: 1 << 30, budget: 1 << 25, current: version, now: now)
      #expect(asks.map(\.count) == [16_384])
    }
  }

  @Test func `reads that come out of order are still in a row`() {
    var stream = ReadStream<Int>()
    var total = 0
    for place: Int64 in [0, 131_072, 393_216, 262_144, 655_360, 524_288] {
      let (_, asks) = stream.read(
        0, at: place, count: 131_072, size: 1 << 30, budget: 1 << 25, current: version, now: now)
      total += asks.reduce(0) { $0 + $1.count }
    }
    #expect(total >= 6 * 131_072 * 2)
  }

  @Test func `nothing is asked ahead behind the end of the file or over the budget`() {
    var stream = ReadStream<Int>()
    let (_, asks) = stream.read(0, at: 0, count: 131_072, size: 200_000, budget: 1 << 25, current: version, now: now)
    #expect(asks.map(\.count) == [131_072, 200_000 - 131_072])
    var poor = ReadStream<Int>()
    let (_, few) = poor.read(0, at: 0, count: 131_072, size: 1 << 30, budget: 100, current: version, now: now)
    #expect(few.map(\.count) == [131_072])
  }

  @Test func `the end of the file makes a short answer`() {
    var stream = ReadStream<Int>()
    _ = stream.read(1, at: 0, count: 4096, size: 10, budget: 0, current: version, now: now)
    let done = stream.receive(piece(0, slice(10)), isLast: true, for: 1, current: version, now: now).answers
    #expect((try? done.first?.result.get().map(\.count)) == [10])
  }

  @Test(arguments: [(Int64(1), 10), (0, 5000), (-1, 1)]) func `wrong pieces fail the read`(_ wrong: (Int64, Int)) {
    var stream = ReadStream<Int>()
    _ = stream.read(1, at: 0, count: 4096, size: 10_000, budget: 0, current: version, now: now)
    let (answers, _, isGood) = stream.receive(
      piece(wrong.0, slice(wrong.1)), isLast: true, for: 1, current: version, now: now)
    #expect(!isGood)
    #expect(answers.count == 1)
    #expect(throws: Errno.ioError) { try answers[0].result.get() }
    #expect(!stream.isWaiting)
  }

  @Test func `pieces that start again replace those before`() {
    var stream = ReadStream<Int>()
    _ = stream.read(1, at: 0, count: 100, size: 100, budget: 0, current: version, now: now)
    _ = stream.receive(piece(0, slice(60, 1)), isLast: false, for: 1, current: version, now: now)
    _ = stream.receive(piece(0, slice(60, 2)), isLast: false, for: 1, current: version, now: now)
    let done = stream.receive(piece(60, slice(40, 2)), isLast: true, for: 1, current: version, now: now).answers
    let bytes = (try? done.first?.result.get())?.flatMap { Array($0.bytes) }
    #expect(bytes == [UInt8](repeating: 2, count: 100))
  }

  @Test func `after a change nothing old is served`() {
    var stream = ReadStream<Int>()
    _ = stream.read(1, at: 0, count: 100, size: 1000, budget: 0, current: version, now: now)
    let result2 = stream.invalidate()
    #expect(result2.isEmpty)
    let (answer, asks) = stream.read(2, at: 0, count: 100, size: 1000, budget: 0, current: version, now: now)
    #expect(answer == nil && asks.count == 1)
    let result3 = stream.receive(piece(0, slice(100, 1)), isLast: true, for: 1, current: version, now: now)
    #expect(result3.answers.map(\.ticket) == [1])
    let result4 = stream.receive(
      piece(0, slice(100, 2)), isLast: true, for: asks[0].segment, current: version, now: now)
    #expect(result4.answers.map(\.ticket) == [2])
  }

  @Test func `what was read ahead of an older state serves no read`() {
    var stream = ReadStream<Int>()
    let (_, asks) = stream.read(1, at: 0, count: 65_536, size: 1 << 20, budget: 1 << 20, current: version, now: now)
    for ask in asks {
      _ = stream.receive(
        piece(ask.offset, slice(ask.count)), isLast: true, for: ask.segment, current: version, now: now)
    }
    let (old, _) = stream.read(
      2, at: 65_536, count: 4_096, size: 1 << 20, budget: 0, current: version, now: now)
    #expect(old != nil)
    let (answer, again) = stream.read(
      3, at: 69_632, count: 4_096, size: 1 << 20, budget: 0, current: newer, now: now)
    #expect(answer == nil && again.map(\.offset) == [69_632])
    #expect(stream.held == 4_096)
  }

  @Test func `a read that spans two states is asked for again as a whole, and not for ever`() {
    var stream = ReadStream<Int>()
    _ = stream.read(1, at: 0, count: 100, size: 200, budget: 0, current: version, now: now)
    _ = stream.receive(piece(0, slice(100)), isLast: true, for: 1, current: version, now: now)
    let (_, first) = stream.read(2, at: 0, count: 100, size: 200, budget: 0, current: version, now: now)
    // The file becomes another one while the answer is on its way.
    var asks = stream.receive(
      piece(0, slice(100)), isLast: true, for: first[0].segment, current: newer, now: now
    ).asks
    var answers: [ReadStream<Int>.Answer] = []
    for _ in 0..<Limits.Mount.rereads {
      #expect(asks.map(\.count) == [100] && answers.isEmpty)
      let result = stream.receive(
        piece(0, slice(100)), isLast: true, for: asks[0].segment, current: newer, now: now)
      (answers, asks) = (result.answers, result.asks)
    }
    #expect(answers.map(\.ticket) == [2] && answers.map(\.isCurrent) == [false])
    #expect(!stream.isWaiting && stream.held == 0)
  }

  @Test func `a read is answered by the newest state though an older one was known when it came`() {
    var stream = ReadStream<Int>()
    let (_, asks) = stream.read(1, at: 0, count: 100, size: 200, budget: 0, current: version, now: now)
    let result = stream.receive(
      piece(0, slice(100), newer), isLast: true, for: asks[0].segment, current: newer, now: now)
    #expect(result.answers.map(\.isCurrent) == [true] && result.asks.isEmpty)
  }
}

import P2PFSCore
import Rig
import Testing

@testable import P2PFS

/// What is asked for ahead of a reader, and in which order it is given out.
@Suite(.onThreads) struct ReadAheadTests {
  private let chunk = Limits.Library.readChunk

  /// The piece of `count` bytes at `offset` of a file whose bytes are their offsets.
  private func piece(_ offset: Int64, _ count: Int) -> FrameSlice {
    let frame = Frame(capacity: count)
    for place in 0..<count { frame.spare[place] = UInt8(truncatingIfNeeded: Int(offset) + place) }
    frame.count = count
    return FrameSlice(frame, 0..<count)
  }

  /// Answers an ask of a file of `size` bytes, in pieces. Returns whether all was taken as good.
  private func answer(_ ask: ReadAhead.Ask, of size: Int64, in ahead: inout ReadAhead, piece length: Int = 100_000)
    -> Bool
  {
    let end = max(min(ask.offset + Int64(ask.count), size), ask.offset)
    var offset = ask.offset
    repeat {
      let count = min(length, Int(end - offset))
      let isLast = offset + Int64(count) == end
      guard ahead.receive(piece(offset, count), at: offset, isLast: isLast, for: ask.number) else { return false }
      offset += Int64(count)
    } while offset < end
    return true
  }

  /// Reads what is there. Returns the bytes' places.
  private func drain(_ ahead: inout ReadAhead) -> [UInt8] {
    var bytes: [UInt8] = []
    while let piece = ahead.take() { bytes += piece.bytes }
    return bytes
  }

  @Test func `chunks that come in any order are given out in order`() {
    var ahead = ReadAhead(0..<Int64.max)
    let first = ahead.asks()
    #expect(first == [.init(number: 0, offset: 0, count: chunk)])
    let size = Int64(chunk) + 5
    ahead.opened(size: size)
    let second = ahead.asks()
    #expect(second == [.init(number: 1, offset: Int64(chunk), count: chunk)])
    let more = ahead.asks()
    #expect(more.isEmpty)
    let isGood = answer(second[0], of: size, in: &ahead)
    let early = ahead.take()
    #expect(isGood && early == nil)
    #expect(answer(first[0], of: size, in: &ahead))
    #expect(drain(&ahead) == (0..<Int(size)).map { UInt8(truncatingIfNeeded: $0) })
    let last = ahead.asks()
    #expect(ahead.isFinished && last.isEmpty)
  }

  @Test func `the window doubles as the reader goes on, up to its bound`() {
    var ahead = ReadAhead(0..<Int64.max)
    var asks = ahead.asks()
    ahead.opened(size: 1 << 40)
    var most = 0
    for _ in 0..<100 {
      asks += ahead.asks()
      most = max(most, asks.reduce(0) { $0 + $1.count })
      guard !asks.isEmpty else { break }
      let ask = asks.removeFirst()
      let zeros = Frame(capacity: ask.count)
      zeros.count = ask.count
      let isGood = ahead.receive(FrameSlice(zeros, 0..<ask.count), at: ask.offset, isLast: true, for: ask.number)
      #expect(isGood)
      while ahead.take() != nil {}
    }
    #expect(most == Limits.Library.readAhead)
  }

  @Test func `a reader that takes nothing is not read ahead further`() {
    var ahead = ReadAhead(0..<Int64.max)
    var asks = ahead.asks()
    ahead.opened(size: 1 << 40)
    for _ in 0..<10 { asks += ahead.asks() }
    for ask in asks { #expect(answer(ask, of: 1 << 40, in: &ahead)) }
    let more = ahead.asks()
    #expect(more.isEmpty && asks.reduce(0) { $0 + $1.count } == Limits.Library.firstReadAhead)
  }

  @Test func `a chunk that comes short is the end, whatever was said of the length`() {
    var ahead = ReadAhead(0..<Int64.max)
    let first = ahead.asks()
    ahead.opened(size: 1_000_000)
    let more = ahead.asks()
    #expect(answer(first[0], of: 10, in: &ahead))
    #expect(drain(&ahead).count == 10 && ahead.isFinished)
    // What comes later is of no interest, and no offence.
    let isGood = answer(more[0], of: 1_000_000, in: &ahead)
    let late = ahead.take()
    #expect(isGood && late == nil)
  }

  @Test func `a file that grows is read to where its end is then`() {
    var ahead = ReadAhead(0..<Int64.max)
    var asks = ahead.asks()
    ahead.opened(size: 0)
    let size = Int64(chunk) * 2 + 1
    var bytes = 0
    while !ahead.isFinished {
      asks += ahead.asks()
      guard !asks.isEmpty else { break }
      #expect(answer(asks.removeFirst(), of: size, in: &ahead))
      bytes += drain(&ahead).count
    }
    #expect(bytes == Int(size))
  }

  @Test func `an answer that starts again after a reconnection is not given out twice`() {
    var ahead = ReadAhead(0..<Int64(chunk))
    let ask = ahead.asks()[0]
    let answer1 = ahead.receive(piece(0, 100), at: 0, isLast: false, for: 0)
    #expect(answer1)
    let answer2 = ahead.receive(piece(100, 100), at: 100, isLast: false, for: 0)
    #expect(answer2)
    #expect(drain(&ahead).count == 200)
    #expect(answer(ask, of: Int64(chunk), in: &ahead, piece: 150))
    let rest = drain(&ahead)
    #expect(rest.count == chunk - 200 && rest.first == 200 && ahead.isFinished)
  }

  @Test(
    arguments: [
      (1, 10), (-1, 10), (Int64.max, 1), (0, Limits.Library.readChunk + 1), (262_144, 1),
    ] as [(Int64, Int)])
  func `what was not asked for is refused`(offset: Int64, count: Int) {
    var ahead = ReadAhead(0..<Int64.max)
    _ = ahead.asks()
    let answer3 = ahead.receive(piece(0, count), at: offset, isLast: false, for: 0)
    #expect(!answer3)
  }

  @Test func `nothing comes behind the last piece of an answer`() {
    var ahead = ReadAhead(0..<Int64.max)
    _ = ahead.asks()
    let answer4 = ahead.receive(piece(0, 10), at: 0, isLast: true, for: 0)
    #expect(answer4)
    let answer5 = ahead.receive(piece(10, 10), at: 10, isLast: true, for: 0)
    #expect(!answer5)
  }
}

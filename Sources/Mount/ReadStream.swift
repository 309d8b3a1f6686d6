import Core
import SystemPackage

/// The reads of one open file: what was asked of the peer, what has come, and who waits for it.
///
/// Contents are asked for in segments, which do not overlap. A read is answered from the segments that cover it;
/// for the gaps between them new ones are asked for, and, while reads follow one another, more ahead of them: up
/// to twice what has been read in a row, so that a link with delay is filled, and none at all for random access.
/// A value without I/O: its owner sends what it says.
struct ReadStream<Ticket> {
  /// A part of the file to be asked for.
  struct Ask: Equatable {
    let segment: UInt64
    let offset: Int64
    let count: Int
  }

  /// A read that can be answered.
  struct Answer {
    let ticket: Ticket
    let result: Result<[FrameSlice], Errno>
  }

  private struct Segment {
    let id: UInt64
    let offset: Int64
    let count: Int
    var pieces: [FrameSlice] = []
    var received = 0
    var isComplete = false
    var error: Errno?
    var served = 0
    var waiters = 0
    /// Not for reads that come from now on.
    var isStale = false

    /// Up to where a read may count on it.
    var end: Int64 { offset + Int64(isComplete ? received : count) }
  }

  private struct Waiter {
    let ticket: Ticket
    let offset: Int64
    let count: Int
    let segments: [UInt64]
  }

  private var segments: [Segment] = []
  private var waiters: [Waiter] = []
  private var nextSegment: UInt64 = 1
  /// Where the reads in a row have come to, and how many bytes they are.
  private var position: Int64 = 0
  private var run: Int64 = 0

  init() {}

  /// Bytes of memory that the segments take or will take.
  var held: Int { segments.reduce(0) { $0 + ($1.isComplete ? $1.received : $1.count) } }
  /// Whether somebody waits.
  var isWaiting: Bool { !waiters.isEmpty }
  /// Segments that are not complete.
  var unfinished: [UInt64] { segments.compactMap { $0.isComplete ? nil : $0.id } }

  /// Notes that the first `count` bytes are on their way without having been asked for by a read.
  mutating func expectStart(_ count: Int) -> Ask {
    ask(0, count)
  }

  /// Wants `count` bytes, at least 1, at `offset`.
  /// - Parameters:
  ///   - size: of the file, as far as is known; nothing is asked for ahead behind it.
  ///   - budget: how many bytes may be asked for ahead.
  /// - Returns: the bytes if they are here, else nil: `receive` will answer; and what to ask the peer for.
  mutating func read(_ ticket: Ticket, at offset: Int64, count: Int, size: Int64, budget: Int) -> (
    answer: Answer?, asks: [Ask]
  ) {
    let end = offset + Int64(count)
    follow(offset, end)
    prune()
    var asks: [Ask] = []
    var parts: [UInt64] = []
    var place = offset
    while place < end {
      if let index = segments.firstIndex(where: { !$0.isStale && $0.offset <= place && place < $0.end }) {
        parts.append(segments[index].id)
        place = segments[index].end
      } else {
        let next = segments.lazy.filter { !$0.isStale && $0.offset > place }.map(\.offset).min() ?? end
        let new = ask(place, Int(min(min(next, end) - place, Int64(Limits.Wire.read))))
        parts.append(new.segment)
        asks.append(new)
        place += Int64(new.count)
      }
    }
    asks += askAhead(size, budget)
    let waiter = Waiter(ticket: ticket, offset: offset, count: count, segments: parts)
    if let result = assemble(waiter) {
      serve(waiter)
      return (Answer(ticket: ticket, result: result), asks)
    }
    for index in segments.indices where parts.contains(segments[index].id) { segments[index].waiters += 1 }
    waiters.append(waiter)
    return (nil, asks)
  }

  /// A piece of a segment came in, or, with nil, its end without one.
  /// - Returns: the reads it answers; nil if it is not what was asked for, after which the segment has failed.
  mutating func receive(_ piece: (offset: Int64, data: FrameSlice)?, isLast: Bool, for id: UInt64) -> (
    answers: [Answer], isGood: Bool
  ) {
    guard let index = segments.firstIndex(where: { $0.id == id }), !segments[index].isComplete else {
      return ([], true)
    }
    if let piece {
      // After a reconnection the pieces start again from the first.
      if piece.offset == segments[index].offset, segments[index].received > 0, piece.data.count > 0 {
        segments[index].pieces = []
        segments[index].received = 0
      }
      let expected = segments[index].offset + Int64(segments[index].received)
      guard piece.offset == expected, piece.data.count <= segments[index].count - segments[index].received else {
        return (fail(id, .ioError), false)
      }
      if piece.data.count > 0 { segments[index].pieces.append(piece.data) }
      segments[index].received += piece.data.count
    }
    if isLast { segments[index].isComplete = true }
    return (answerWaiters(on: id), true)
  }

  /// The pieces of a segment start again from the first.
  /// - Returns: what is to be asked for, if they do not come by themselves; nil if nobody wants them any more.
  mutating func restart(_ id: UInt64) -> Ask? {
    guard let index = segments.firstIndex(where: { $0.id == id }), !segments[index].isComplete else { return nil }
    segments[index].pieces = []
    segments[index].received = 0
    return Ask(segment: id, offset: segments[index].offset, count: segments[index].count)
  }

  /// A segment will not come.
  mutating func fail(_ id: UInt64, _ error: Errno) -> [Answer] {
    guard let index = segments.firstIndex(where: { $0.id == id }) else { return [] }
    segments[index].error = error
    segments[index].isComplete = true
    segments[index].isStale = true
    let answers = answerWaiters(on: id)
    segments.removeAll { $0.id == id && $0.waiters == 0 }
    return answers
  }

  /// The file has changed: nothing that was asked for until now serves a later read.
  /// - Returns: the segments that nobody waits for any more, and that need not come.
  mutating func invalidate() -> [UInt64] {
    var dropped: [UInt64] = []
    segments.removeAll { segment in
      guard segment.waiters == 0 else { return false }
      if !segment.isComplete { dropped.append(segment.id) }
      return true
    }
    for index in segments.indices { segments[index].isStale = true }
    return dropped
  }

  // MARK: Parts

  private mutating func ask(_ offset: Int64, _ count: Int) -> Ask {
    defer { nextSegment += 1 }
    segments.append(Segment(id: nextSegment, offset: offset, count: count))
    return Ask(segment: nextSegment, offset: offset, count: count)
  }

  /// Does a read go on from those before? The kernel's come out of order, by a few of its own read-aheads.
  private mutating func follow(_ offset: Int64, _ end: Int64) {
    let slack: Int64 = 1_048_576
    if offset >= position - slack, offset <= position + slack / 2, run > 0 || offset == 0 {
      run += end - offset
      position = max(position, end)
    } else {
      run = offset == position ? end - offset : 0
      position = end
    }
  }

  private mutating func askAhead(_ size: Int64, _ budget: Int) -> [Ask] {
    // A single short read of the start says nothing yet: many programs look at a header only.
    guard run >= 65_536 else { return [] }
    let window = min(max(run * 2, 262_144), Int64(Limits.Mount.readAhead))
    let target = min(position + window, size)
    var ahead = position
    for segment in segments where !segment.isStale { ahead = max(ahead, segment.end) }
    var left = budget
    var asks: [Ask] = []
    let chunk = Int64(Limits.Mount.readAheadChunk)
    while ahead < target, target - ahead >= chunk || target == size {
      let count = Int(min(chunk, target - ahead))
      guard count <= left else { break }
      asks.append(ask(ahead, count))
      left -= count
      ahead += Int64(count)
    }
    return asks
  }

  /// Lets go of what nobody will read: what lies far from where the reads are.
  private mutating func prune() {
    let slack: Int64 = 1_048_576
    let here = position
    let isRun = run > 0
    segments.removeAll { segment in
      guard segment.isComplete, segment.waiters == 0 else { return false }
      return segment.end < here - slack || (!isRun && segment.offset > here + slack)
    }
  }

  /// The result of a read, if it can be told by now.
  private func assemble(_ waiter: Waiter) -> Result<[FrameSlice], Errno>? {
    var slices: [FrameSlice] = []
    var place = waiter.offset
    let end = waiter.offset + Int64(waiter.count)
    for id in waiter.segments {
      guard let segment = segments.first(where: { $0.id == id }) else { return .failure(.ioError) }
      if let error = segment.error { return .failure(error) }
      let wanted = min(end, segment.offset + Int64(segment.count))
      let there = segment.offset + Int64(segment.received)
      guard there >= wanted || segment.isComplete else { return nil }
      var start = segment.offset
      for piece in segment.pieces {
        let lower = max(place, start)
        let upper = min(wanted, start + Int64(piece.count))
        if lower < upper {
          let base = piece.range.lowerBound
          slices.append(FrameSlice(piece.frame, (base + Int(lower - start))..<(base + Int(upper - start))))
          place = upper
        }
        start += Int64(piece.count)
      }
      // The end of the file.
      if there < wanted, segment.isComplete { break }
    }
    return .success(slices)
  }

  private mutating func serve(_ waiter: Waiter) {
    let end = waiter.offset + Int64(waiter.count)
    for index in segments.indices where waiter.segments.contains(segments[index].id) {
      let segment = segments[index]
      let served = min(end, segment.offset + Int64(segment.count)) - max(waiter.offset, segment.offset)
      segments[index].served += Int(max(served, 0))
    }
    segments.removeAll { $0.isComplete && $0.waiters == 0 && ($0.served >= $0.received || $0.isStale) }
  }

  private mutating func answerWaiters(on id: UInt64) -> [Answer] {
    var answers: [Answer] = []
    var index = 0
    while index < waiters.count {
      let waiter = waiters[index]
      guard waiter.segments.contains(id), let result = assemble(waiter) else {
        index += 1
        continue
      }
      waiters.remove(at: index)
      for place in segments.indices where waiter.segments.contains(segments[place].id) {
        segments[place].waiters -= 1
      }
      serve(waiter)
      answers.append(Answer(ticket: waiter.ticket, result: result))
    }
    return answers
  }
}

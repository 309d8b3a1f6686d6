import P2PFSCore
import SystemPackage
import P2PFSWire

/// The reads of one open file: the requests to the peer, the contents that have come, and the reads that wait.
///
/// Contents are asked for in segments, which do not overlap. A read is answered from the segments that cover it;
/// for the gaps between them new ones are asked for, and, while reads follow one another, more ahead of them: up
/// to twice what has been read in a row, so that a link with delay is filled, and none at all for random access.
///
/// Each segment is of one state of the file (`Attributes.Version`), and a read is answered from segments of the newest
/// known state only: where they are not, its range is asked for again, as one segment.
///
/// ```
///            ask                first piece           last piece
///  (gap) ──────────▶ asked ──────────▶ of a state ──────────▶ complete ──▶ served, dropped
///                                         │ state is not the newest: dropped, or asked for again if a read waits
/// ```
/// A value without I/O: its owner sends what it says.
struct ReadStream<Ticket> {
  typealias Version = Attributes.Version

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
    /// Whether the bytes are of the newest known state, or none is known, since the file is being changed from here. If
    /// not, they must not stay in any cache.
    let isCurrent: Bool
  }

  private struct Segment {
    let id: UInt64
    let offset: Int64
    let count: Int
    var asked: Instant
    var version: Version?
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

    /// Whether a read that comes now may use it.
    func serves(_ current: Version?) -> Bool {
      !isStale && (version == nil || version == current)
    }
  }

  /// A read, and the segments that cover it.
  private struct Part {
    let offset: Int64
    let count: Int
    var segments: [UInt64]
    /// How often it was asked for again.
    var tries = 0
  }

  private struct Waiter {
    let ticket: Ticket
    var part: Part
  }

  private var segments: [Segment] = []
  private var waiters: [Waiter] = []
  private var nextSegment: UInt64 = 1
  /// Where the reads in a row have come to, and how many bytes they are.
  private var position: Int64 = 0
  private var run: Int64 = 0
  /// Bytes of memory that the segments take or will take.
  private(set) var held = 0 { didSet { total?.bytes += held - oldValue } }
  private var total: ReadAheadTotal?

  init() {}

  /// Counts what is held in `total`, from now on until `leave()`.
  mutating func join(_ total: ReadAheadTotal) {
    self.total = total
    total.bytes += held
  }

  /// Counts nothing any more: the file is closed.
  mutating func leave() {
    total?.bytes -= held
    total = nil
  }

  /// Whether somebody waits.
  var isWaiting: Bool { !waiters.isEmpty }
  /// Whether there is nothing to invalidate.
  var isEmpty: Bool { segments.isEmpty }
  /// Segments that are not complete.
  var unfinished: [UInt64] { segments.compactMap { $0.isComplete ? nil : $0.id } }

  /// When a segment was asked for; nil if there is none such.
  func asked(_ id: UInt64) -> Instant? { segments.first { $0.id == id }?.asked }

  /// Notes that the first `count` bytes are on their way without having been asked for by a read.
  mutating func expectStart(_ count: Int, now: Instant) -> Ask {
    ask(0, count, now)
  }

  /// Reads `count` bytes, at least 1, at `offset`, if all of them are here: the parameters are those of `read`.
  /// - Returns: the answer, and the parts to ask the peer for ahead; nil if something is missing, with nothing changed.
  mutating func readAtOnce(
    at offset: Int64, count: Int, size: Int64, budget: Int, current: Version?, now: Instant
  ) -> (result: Result<[FrameSlice], Errno>, isCurrent: Bool, asks: [Ask])? {
    let end = offset + Int64(count)
    var part = Part(offset: offset, count: count, segments: [])
    var place = offset
    while place < end {
      guard let segment = segments.first(where: { $0.serves(current) && $0.offset <= place && place < $0.end }) else {
        return nil
      }
      part.segments.append(segment.id)
      place = segment.end
    }
    guard case .answer(let result, let isCurrent) = assemble(part, current) else { return nil }
    follow(offset, end)
    serve(part)
    prune(current)
    return (result, isCurrent, askAhead(size, budget, current, now))
  }

  /// Wants `count` bytes, at least 1, at `offset`.
  /// - Parameters:
  ///   - size: of the file, as far as is known; nothing is asked for ahead behind it.
  ///   - budget: how many bytes may be asked for ahead.
  ///   - current: the newest known state; nil while it is not known, when nothing that is here serves.
  /// - Returns: the bytes if they are here, else nil: `receive` will answer; and the parts to ask the peer for.
  mutating func read(
    _ ticket: Ticket, at offset: Int64, count: Int, size: Int64, budget: Int, current: Version?, now: Instant
  ) -> (answer: Answer?, asks: [Ask]) {
    let end = offset + Int64(count)
    follow(offset, end)
    prune(current)
    var asks: [Ask] = []
    var parts: [UInt64] = []
    var place = offset
    while place < end {
      if let index = segments.firstIndex(where: { $0.serves(current) && $0.offset <= place && place < $0.end }) {
        parts.append(segments[index].id)
        place = segments[index].end
      } else {
        let next = segments.lazy.filter { $0.serves(current) && $0.offset > place }.map(\.offset).min() ?? end
        let new = ask(place, Int(min(min(next, end) - place, Int64(Limits.Wire.read))), now)
        parts.append(new.segment)
        asks.append(new)
        place += Int64(new.count)
      }
    }
    asks += askAhead(size, budget, current, now)
    let part = Part(offset: offset, count: count, segments: parts)
    if case .answer(let result, let isCurrent) = assemble(part, current) {
      serve(part)
      return (Answer(ticket: ticket, result: result, isCurrent: isCurrent), asks)
    }
    for index in segments.indices where parts.contains(segments[index].id) { segments[index].waiters += 1 }
    waiters.append(Waiter(ticket: ticket, part: part))
    return (nil, asks)
  }

  /// A piece of a segment came in, or, with nil, its end without one.
  /// - Parameter current: the newest known state, this piece taken into account.
  /// - Returns: the reads it answers, and the parts to be asked for again; `isGood` is false if it is not a piece
  ///   that was asked for, after which the segment has failed.
  mutating func receive(_ piece: Piece?, isLast: Bool, for id: UInt64, current: Version?, now: Instant) -> (
    answers: [Answer], asks: [Ask], isGood: Bool
  ) {
    guard let index = segments.firstIndex(where: { $0.id == id }), !segments[index].isComplete else {
      return ([], [], true)
    }
    if let piece {
      // After a reconnection the pieces start again from the first.
      if piece.offset == segments[index].offset, segments[index].received > 0, piece.data.count > 0 {
        restartPieces(at: index)
      }
      let expected = segments[index].offset + Int64(segments[index].received)
      guard piece.offset == expected, piece.data.count <= segments[index].count - segments[index].received else {
        return (fail(id, .ioError), [], false)
      }
      if segments[index].version == nil || segments[index].received == 0 { segments[index].version = piece.version }
      // The peer's answer to one request is of one state.
      if segments[index].version != piece.version { segments[index].isStale = true }
      if piece.data.count > 0 { segments[index].pieces.append(piece.data) }
      segments[index].received += piece.data.count
    }
    if isLast { complete(at: index) }
    let (answers, asks) = answerWaiters(on: id, current, now)
    return (answers, asks, true)
  }

  /// The pieces of a segment start again from the first.
  /// - Returns: the part to be asked for, if they do not come by themselves; nil if nobody wants them any more.
  mutating func restart(_ id: UInt64) -> Ask? {
    guard let index = segments.firstIndex(where: { $0.id == id }), !segments[index].isComplete else { return nil }
    restartPieces(at: index)
    return Ask(segment: id, offset: segments[index].offset, count: segments[index].count)
  }

  /// A segment will not come.
  mutating func fail(_ id: UInt64, _ error: Errno) -> [Answer] {
    guard let index = segments.firstIndex(where: { $0.id == id }) else { return [] }
    segments[index].error = error
    if !segments[index].isComplete { complete(at: index) }
    segments[index].isStale = true
    let (answers, _) = answerWaiters(on: id, nil, Instant(nanoseconds: 0))
    remove { $0.id == id && $0.waiters == 0 }
    return answers
  }

  /// The file has changed: nothing that was asked for until now serves a later read.
  /// - Returns: the segments that nobody waits for any more, and that need not come.
  mutating func invalidate() -> [UInt64] {
    guard !segments.isEmpty else { return [] }
    let dropped = segments.filter { $0.waiters == 0 && !$0.isComplete }.map(\.id)
    remove { $0.waiters == 0 }
    for index in segments.indices { segments[index].isStale = true }
    return dropped
  }

  // MARK: Parts

  private mutating func ask(_ offset: Int64, _ count: Int, _ now: Instant) -> Ask {
    defer { nextSegment += 1 }
    segments.append(Segment(id: nextSegment, offset: offset, count: count, asked: now))
    held += count
    return Ask(segment: nextSegment, offset: offset, count: count)
  }

  private mutating func complete(at index: Int) {
    segments[index].isComplete = true
    held -= segments[index].count - segments[index].received
  }

  private mutating func remove(where predicate: (Segment) -> Bool) {
    var freed = 0
    segments.removeAll { segment in
      guard predicate(segment) else { return false }
      freed += segment.isComplete ? segment.received : segment.count
      return true
    }
    held -= freed
  }

  private mutating func restartPieces(at index: Int) {
    segments[index].pieces = []
    segments[index].received = 0
    segments[index].version = nil
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

  private mutating func askAhead(_ size: Int64, _ budget: Int, _ current: Version?, _ now: Instant) -> [Ask] {
    // A single short read of the start says nothing yet: many programs look at a header only. And while the file is
    // being changed from here, contents read ahead would be of no use.
    guard run >= 65_536, current != nil else { return [] }
    let window = min(max(run * 2, 262_144), Int64(Limits.Mount.readAhead))
    let target = min(position + window, size)
    var ahead = position
    for segment in segments where segment.serves(current) { ahead = max(ahead, segment.end) }
    var left = budget
    var asks: [Ask] = []
    let chunk = Int64(Limits.Mount.readAheadChunk)
    while ahead < target, target - ahead >= chunk || target == size {
      let count = Int(min(chunk, target - ahead))
      guard count <= left else { break }
      asks.append(ask(ahead, count, now))
      left -= count
      ahead += Int64(count)
    }
    return asks
  }

  /// Lets go of what nobody will read: other states of the file, and what lies far from where the reads are.
  private mutating func prune(_ current: Version?) {
    let slack: Int64 = 1_048_576
    let here = position
    let isRun = run > 0
    remove { segment in
      guard segment.isComplete, segment.waiters == 0 else { return false }
      return !segment.serves(current) || segment.end < here - slack || (!isRun && segment.offset > here + slack)
    }
  }

  private enum Assembly {
    case incomplete
    case outdated
    case answer(Result<[FrameSlice], Errno>, isCurrent: Bool)
  }

  /// The result of a read, if it can be told by now.
  private func assemble(_ part: Part, _ current: Version?) -> Assembly {
    var slices: [FrameSlice] = []
    var place = part.offset
    let end = part.offset + Int64(part.count)
    var isCurrent = true
    for id in part.segments {
      guard let segment = segments.first(where: { $0.id == id }) else {
        return .answer(.failure(.ioError), isCurrent: true)
      }
      if let error = segment.error { return .answer(.failure(error), isCurrent: true) }
      let wanted = min(end, segment.offset + Int64(segment.count))
      let there = segment.offset + Int64(segment.received)
      guard there >= wanted || segment.isComplete else { return .incomplete }
      if let current, segment.version != current { isCurrent = false }
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
    if !isCurrent, part.tries < Limits.Mount.rereads { return .outdated }
    return .answer(.success(slices), isCurrent: isCurrent)
  }

  private mutating func serve(_ part: Part) {
    let end = part.offset + Int64(part.count)
    for index in segments.indices where part.segments.contains(segments[index].id) {
      let segment = segments[index]
      let served = min(end, segment.offset + Int64(segment.count)) - max(part.offset, segment.offset)
      segments[index].served += Int(max(served, 0))
    }
    remove { $0.isComplete && $0.waiters == 0 && ($0.served >= $0.received || $0.isStale) }
  }

  private mutating func answerWaiters(
    on id: UInt64, _ current: Version?, _ now: Instant
  ) -> (answers: [Answer], asks: [Ask]) {
    var answers: [Answer] = []
    var asks: [Ask] = []
    var index = 0
    while index < waiters.count {
      var waiter = waiters[index]
      guard waiter.part.segments.contains(id) else {
        index += 1
        continue
      }
      switch assemble(waiter.part, current) {
      case .incomplete: index += 1
      case .outdated:
        leave(waiter.part, current)
        let again = ask(waiter.part.offset, waiter.part.count, now)
        // For this read alone: others ask for themselves.
        segments[segments.count - 1].isStale = true
        segments[segments.count - 1].waiters = 1
        waiter.part.segments = [again.segment]
        waiter.part.tries += 1
        waiters[index] = waiter
        asks.append(again)
        index += 1
      case .answer(let result, let isCurrent):
        waiters.remove(at: index)
        leave(waiter.part, current)
        serve(waiter.part)
        answers.append(Answer(ticket: waiter.ticket, result: result, isCurrent: isCurrent))
      }
    }
    return (answers, asks)
  }

  private mutating func leave(_ part: Part, _ current: Version?) {
    for place in segments.indices where part.segments.contains(segments[place].id) {
      segments[place].waiters -= 1
    }
    remove { $0.isComplete && $0.waiters == 0 && !$0.serves(current) }
  }
}

import P2PFSCore
import DequeModule

/// Reads a part of a file from its start to its end: what is to be asked of the peer, and what has come, in order.
///
/// Contents are asked for in chunks, several ahead of the reader, so that a link with delay is filled. How far ahead
/// doubles with each chunk that the reader has taken, within a bound that is also one of memory. A chunk that comes short
/// is the end of the file, wherever it was thought to be. A value without I/O: its owner sends what it says.
struct ReadAhead {
  /// A chunk to be asked for.
  struct Ask: Equatable {
    let number: Int
    let offset: Int64
    let count: Int
  }

  private struct Chunk {
    let offset: Int64
    let count: Int
    /// What the reader has not taken.
    var pieces: Deque<FrameSlice> = []
    /// How much of the chunk has come, and how much of the answer that is coming in.
    var kept = 0
    var received = 0
    var isComplete = false
  }

  private let end: Int64
  /// The file's length, once that is known.
  private var size: Int64?
  private var window = Limits.Library.firstReadAhead
  private var chunks: Deque<Chunk> = []
  /// The number of the first of them.
  private var first = 0
  private var next: Int64

  /// Reads `range`, within what a file can hold.
  init(_ range: Range<Int64>) {
    next = range.lowerBound
    end = range.upperBound
  }

  /// Whether the reader has taken all that there is, and nothing more is to be asked for.
  var isFinished: Bool { chunks.isEmpty && next >= end }

  /// The file was opened and is that long, for the moment.
  mutating func opened(size: Int64) { self.size = size }

  /// What to ask for now.
  mutating func asks() -> [Ask] {
    var asks: [Ask] = []
    var held = chunks.reduce(0) { $0 + $1.count }
    // Until its length is known one chunk is asked for, together with the file. Then up to behind its end, so that the
    // chunk that comes short is on its way already.
    while next < end, size.map({ next <= $0 || chunks.isEmpty }) ?? chunks.isEmpty {
      let count = Int(min(Int64(Limits.Library.readChunk), end - next))
      guard chunks.isEmpty || held + count <= window else { break }
      asks.append(Ask(number: first + chunks.count, offset: next, count: count))
      chunks.append(Chunk(offset: next, count: count))
      held += count
      next += Int64(count)
    }
    return asks
  }

  /// A piece of a chunk has come in.
  /// - Returns: false if it is not what was asked for.
  mutating func receive(_ data: FrameSlice, at offset: Int64, isLast: Bool, for number: Int) -> Bool {
    // Of a chunk behind the end of the file.
    guard number >= first, number - first < chunks.count else { return true }
    let index = number - first
    guard !chunks[index].isComplete else { return false }
    // After a reconnection the pieces start again from the first.
    if offset == chunks[index].offset, data.count > 0 { chunks[index].received = 0 }
    let chunk = chunks[index]
    guard offset == chunk.offset + Int64(chunk.received), data.count <= chunk.count - chunk.received else {
      return false
    }
    let end = chunk.received + data.count
    if end > chunk.kept {
      let known = chunk.kept - chunk.received
      let fresh = (data.range.lowerBound + known)..<data.range.upperBound
      chunks[index].pieces.append(FrameSlice(data.frame, fresh))
      chunks[index].kept = end
    }
    chunks[index].received = end
    if isLast {
      chunks[index].isComplete = true
      if chunks[index].kept < chunk.count { cut(behind: index) }
    }
    return true
  }

  /// The file ends in this chunk.
  private mutating func cut(behind index: Int) {
    chunks.removeSubrange((index + 1)...)
    next = end
  }

  /// The next piece in order, if it is here.
  mutating func take() -> FrameSlice? {
    while !chunks.isEmpty {
      if let piece = chunks[0].pieces.popFirst() { return piece }
      guard chunks[0].isComplete else { return nil }
      chunks.removeFirst()
      first += 1
      window = min(window * 2, Limits.Library.readAhead)
    }
    return nil
  }
}

import P2PFSCore
import DequeModule

/// The writes of one file on their way: those that wait to be sent, those that the peer has not yet answered, and
/// the actions that may only happen after them.
///
/// Pieces leave in their order; one that overlaps a piece under way waits until that is done, because the peer
/// works on several at a time. A value without I/O.
struct WriteQueue<Payload, Barrier> {
  /// Where a write goes.
  enum Place {
    case range(Range<Int64>)
    /// To the end of the file, wherever that is then.
    case end

    /// Whether it makes a difference which of two is done first. Of two appends it makes none to either.
    func overlaps(_ other: Place) -> Bool {
      switch (self, other) {
      case (.range(let one), .range(let other)): one.overlaps(other)
      case (.end, .end): false
      default: true
      }
    }

    var upperBound: Int64 {
      if case .range(let range) = self { range.upperBound } else { 0 }
    }
  }

  /// A part of a write, in one message, or an append.
  struct Piece {
    let number: UInt64
    let place: Place
    let bytes: Int
    let payload: Payload
  }

  private var waiting = Deque<Piece>()
  private var underWay: [UInt64: Place] = [:]
  /// Bytes that are queued or under way.
  private(set) var bytes = 0
  private var sizes: [UInt64: Int] = [:]
  private var barriers: [(number: UInt64, barrier: Barrier)] = []
  private var sentBarriers: [(number: UInt64, barrier: Barrier)] = []
  private var nextNumber: UInt64 = 1
  private var highest: Int64 = 0

  init() {}

  /// Whether nothing is queued or under way.
  var isIdle: Bool { waiting.isEmpty && underWay.isEmpty }
  /// The end of the furthest write that is not done.
  var end: Int64 { isIdle ? 0 : highest }
  /// Pieces that wait to be sent.
  var isWaiting: Bool { !waiting.isEmpty }

  /// Puts a piece behind the others.
  mutating func add(_ payload: Payload, at place: Place, bytes: Int) {
    if isIdle { highest = 0 }
    waiting.append(Piece(number: nextNumber, place: place, bytes: bytes, payload: payload))
    nextNumber += 1
    self.bytes += bytes
    highest = max(highest, place.upperBound)
  }

  /// The next piece to send, if it has at most `credit` bytes and overlaps nothing that is under way.
  mutating func next(credit: Int) -> Piece? {
    guard let piece = waiting.first, piece.bytes <= credit,
      !underWay.values.contains(where: { $0.overlaps(piece.place) })
    else { return nil }
    waiting.removeFirst()
    underWay[piece.number] = piece.place
    sizes[piece.number] = piece.bytes
    return piece
  }

  /// Whether the next piece waits for an overlapping one, rather than for credit.
  var isBlocked: Bool {
    guard let piece = waiting.first else { return false }
    return underWay.values.contains { $0.overlaps(piece.place) }
  }

  /// The peer has answered a piece.
  /// - Returns: the barriers that are passed by that.
  mutating func done(_ number: UInt64) -> [Barrier] {
    underWay[number] = nil
    bytes -= sizes.removeValue(forKey: number) ?? 0
    return passed()
  }

  /// The number of the piece that was added last.
  var lastNumber: UInt64 { nextNumber - 1 }

  /// Bytes of the pieces that wait, of those for which `predicate` holds.
  func unsentBytes(_ predicate: (Payload) -> Bool) -> Int {
    waiting.reduce(0) { $0 + (predicate($1.payload) ? $1.bytes : 0) }
  }

  /// Takes the pieces that wait out of the queue, of those for which `predicate` holds.
  /// - Returns: their payloads, and the barriers that are passed by that.
  mutating func withdraw(_ predicate: (Payload) -> Bool) -> (payloads: [Payload], barriers: [Barrier]) {
    var payloads: [Payload] = []
    var rest = Deque<Piece>()
    for piece in waiting {
      if predicate(piece.payload) {
        payloads.append(piece.payload)
        bytes -= piece.bytes
      } else {
        rest.append(piece)
      }
    }
    waiting = rest
    return (payloads, passed())
  }

  /// Whether all writes so far are done; if not, `barrier` is returned by `done` when they are. Later writes do
  /// not hold it up.
  mutating func wait(_ barrier: Barrier) -> Bool {
    if isIdle { return true }
    barriers.append((nextNumber, barrier))
    return false
  }

  /// Whether all writes so far are on their way; if not, `barrier` is returned by `departed` when they are.
  mutating func waitSent(_ barrier: Barrier) -> Bool {
    if waiting.isEmpty { return true }
    sentBarriers.append((nextNumber, barrier))
    return false
  }

  /// The barriers that are passed by what was sent, or withdrawn, since the last call.
  mutating func departed() -> [Barrier] {
    guard !sentBarriers.isEmpty else { return [] }
    let oldest = waiting.first?.number ?? .max
    let passed = sentBarriers.filter { $0.number <= oldest }.map(\.barrier)
    sentBarriers.removeAll { $0.number <= oldest }
    return passed
  }

  private mutating func passed() -> [Barrier] {
    guard !barriers.isEmpty else { return [] }
    let oldest = min(underWay.keys.min() ?? .max, waiting.first?.number ?? .max)
    let passed = barriers.filter { $0.number <= oldest }.map(\.barrier)
    barriers.removeAll { $0.number <= oldest }
    return passed
  }
}

import P2PFSCore
import P2PFSWire
import DequeModule

/// The client's unanswered requests, each in a slot of its own, and those that wait: for a slot, or until the requests
/// in slots take fewer bytes. They wait in their order.
struct PendingRequests {
  /// A request on its way.
  struct Entry {
    let frame: Frame
    let lane: Lane
    let changes: Bool
    /// Position among all requests, to send them again in their order.
    let order: UInt64
    let completion: @Sendable (Reply) -> Void
    /// Whether the peer may have it.
    var wasSent = false
    /// Memory that it takes at the peer. The data of writes is bounded by their sender.
    var cost: Int { RequestBytes(of: RequestSummary(of: frame)).others }
  }

  private var slots: [Entry?] = []
  /// How often each slot was used; with the slot it makes the sequence number.
  private var counts: [UInt64] = []
  private var free: [Int] = []
  private var waiting = Deque<Entry>()
  private var abandoned: Set<UInt64> = []
  private var nextOrder: UInt64 = 0
  private var limit: Int
  private let byteLimit: Int
  /// Memory that those in slots take at the peer.
  private var bytes = 0
  /// Bytes of the messages of all requests, the waiting ones included.
  private(set) var messageBytes = 0

  /// A table of at most `limit` slots, at most 65,536, for requests that take at most `bytes` at the peer
  /// (`RequestBytes.others`); a single one may take more.
  init(limit: Int, bytes: Int = Limits.Session.requestBytes) {
    self.limit = limit
    byteLimit = bytes
  }

  /// The number of requests, the waiting ones included.
  private(set) var count = 0

  /// Takes a request in. With a slot free, it is numbered and to be sent now; else it waits for one.
  /// - Parameter isConnected: whether it is sent at once, if it is to be.
  /// - Returns: the frame to send, if any, and the ticket by which it can be abandoned.
  mutating func add(
    _ frame: Frame, on lane: Lane, changes: Bool, isConnected: Bool = true,
    completion: @escaping @Sendable (Reply) -> Void
  ) -> (send: Bool, ticket: UInt64) {
    nextOrder += 1
    let entry = Entry(frame: frame, lane: lane, changes: changes, order: nextOrder, completion: completion)
    count += 1
    messageBytes += frame.count
    guard waiting.isEmpty, let index = takeSlot(for: entry) else {
      waiting.append(entry)
      return (false, entry.order)
    }
    occupy(index, by: entry, isSent: isConnected)
    return (true, entry.order)
  }

  /// The completion of the request that a reply belongs to; nil if there is none (any more).
  /// The last reply frees the slot; requests that waited for that are then to be sent: see `promote`.
  mutating func completion(for header: Header) -> (completion: (@Sendable (Reply) -> Void)?, isFree: Bool) {
    let index = SlotTable.slot(of: header.sequence)
    guard index < slots.count, counts[index] == header.sequence >> 16, let entry = slots[index] else {
      return (nil, false)
    }
    // A reply names the operation of its request.
    guard Operation(rawValue: header.operation) == entry.operation else { return (nil, false) }
    let isAbandoned = abandoned.contains(entry.order)
    guard !header.more else { return (isAbandoned ? nil : entry.completion, false) }
    if isAbandoned { abandoned.remove(entry.order) }
    forget(entry)
    vacate(index, of: entry)
    return (isAbandoned ? nil : entry.completion, !waiting.isEmpty)
  }

  /// Abandons the request with this ticket. Its slot stays taken until the peer has answered.
  mutating func abandon(_ ticket: UInt64) {
    let isThere = slots.contains { $0?.order == ticket } || waiting.contains { $0.order == ticket }
    if isThere { abandoned.insert(ticket) }
  }

  /// The requests in slots in the order in which they were first sent, to be sent again on a new connection.
  mutating func sent() -> [(frame: Frame, lane: Lane)] {
    for index in slots.indices { slots[index]?.wasSent = true }
    return slots.compactMap { $0 }.sorted { $0.order < $1.order }.map { ($0.frame, $0.lane) }
  }

  /// Empties the table and returns the completions to call, in order. The slots' counts go on.
  mutating func removeAll() -> [@Sendable (Reply) -> Void] { remove { _ in true } }

  /// As `removeAll`, for the requests that mean nothing to a program of the peer that was started again and remembers
  /// nothing: changes that may have been made already, and changes of files that were open. A change that was never sent
  /// and uses names only is kept.
  mutating func removeUndecided() -> [@Sendable (Reply) -> Void] {
    remove { $0.changes && ($0.wasSent || !Request.speaksOfNames($0.frame)) }
  }

  private mutating func remove(_ isToGo: (Entry) -> Bool) -> [@Sendable (Reply) -> Void] {
    var removed: [Entry] = []
    for index in slots.indices {
      guard let entry = slots[index], isToGo(entry) else { continue }
      vacate(index, of: entry)
      removed.append(entry)
    }
    let others = waiting
    waiting = []
    for entry in others {
      if isToGo(entry) { removed.append(entry) } else { waiting.append(entry) }
    }
    for entry in removed { forget(entry) }
    let kept = removed.sorted { $0.order < $1.order }.filter { abandoned.remove($0.order) == nil }
    return kept.map(\.completion)
  }

  /// Moves waiting requests into slots, as far as there is room. They are to be sent.
  mutating func promote() -> [(frame: Frame, lane: Lane)] {
    var promoted: [(Frame, Lane)] = []
    while let entry = waiting.first {
      if abandoned.remove(entry.order) != nil {
        waiting.removeFirst()
        forget(entry)
        continue
      }
      guard let index = takeSlot(for: entry) else { break }
      waiting.removeFirst()
      occupy(index, by: entry, isSent: true)
      promoted.append((entry.frame, entry.lane))
    }
    return promoted
  }

  /// The peer accepts at most this many requests at once. Slots beyond are not used any more.
  mutating func restrict(to limit: Int) {
    self.limit = min(max(limit, 1), self.limit)
    free.removeAll { $0 >= self.limit }
  }

  private mutating func takeSlot(for entry: Entry) -> Int? {
    guard bytes == 0 || bytes + entry.cost <= byteLimit else { return nil }
    if let index = free.popLast() { return index }
    guard slots.count < limit else { return nil }
    slots.append(nil)
    counts.append(0)
    return slots.count - 1
  }

  private mutating func occupy(_ index: Int, by entry: Entry, isSent: Bool) {
    counts[index] += 1
    entry.frame.number(counts[index] << 16 | UInt64(index))
    slots[index] = entry
    slots[index]?.wasSent = isSent
    bytes += entry.cost
  }

  private mutating func vacate(_ index: Int, of entry: Entry) {
    slots[index] = nil
    bytes -= entry.cost
    if index < limit { free.append(index) }
  }

  private mutating func forget(_ entry: Entry) {
    count -= 1
    messageBytes -= entry.frame.count
  }
}

extension PendingRequests.Entry {
  fileprivate var operation: Operation? { RequestSummary(of: frame).operation }
}

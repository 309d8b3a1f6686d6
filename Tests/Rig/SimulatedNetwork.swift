package import P2PFSCore

/// A network between two computers with a time of its own: all that happens is an entry of one queue, ordered by its time,
/// and is done on the thread that calls `run`. From the same seed the same happens.
package final class SimulatedNetwork: @unchecked Sendable {
  // Everything is used by one thread, that of the test. `@Sendable` closures of the program under test hold it.

  /// The two computers.
  package enum Side: Int, Sendable { case one, other }

  private struct Event {
    let at: Instant
    /// Events of one time happen in the order in which they were planned.
    let number: UInt64
    let body: () -> Void

    func isBefore(_ other: Event) -> Bool { at == other.at ? number < other.number : at < other.at }
  }

  /// The time in the network.
  package private(set) var now = Instant(nanoseconds: 1_000_000_000)
  /// All chance comes from here.
  package var random: SeededGenerator
  /// The way from each side to its peer.
  package var paths = [SimulatedPath(), SimulatedPath()]
  /// A hash over all that has happened (FNV-1a), and how much that was.
  package private(set) var trace: UInt64 = 0xcbf2_9ce4_8422_2325
  package private(set) var events = 0
  // A heap: the earliest first.
  private var queue: [Event] = []
  private var last: UInt64 = 0

  /// A network with good paths, in which nothing is planned.
  package init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  /// The clock of whoever lives in the network.
  package var clock: Clock { Clock { [self] in now } }

  // MARK: - What happens

  /// Plans something for `seconds` from now.
  package func after(_ seconds: Double, _ body: @escaping () -> Void) { plan(now.advanced(by: max(seconds, 0)), body) }

  private func plan(_ at: Instant, _ body: @escaping () -> Void) {
    last += 1
    queue.append(Event(at: at, number: last, body: body))
    var index = queue.count - 1
    while index > 0, queue[index].isBefore(queue[(index - 1) / 2]) {
      queue.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  private func takeFirst() -> Event? {
    guard let first = queue.first else { return nil }
    let moved = queue.removeLast()
    guard !queue.isEmpty else { return first }
    queue[0] = moved
    var index = 0
    while true {
      let children = [2 * index + 1, 2 * index + 2].filter { $0 < queue.count }
      guard let least = children.min(by: { queue[$0].isBefore(queue[$1]) }), queue[least].isBefore(queue[index]) else {
        return first
      }
      queue.swapAt(index, least)
      index = least
    }
  }

  /// Lets things happen in their order until `isDone`, or until `seconds` have gone by.
  /// - Returns: whether it was done.
  @discardableResult
  package func run(for seconds: Double, until isDone: () -> Bool = { false }) -> Bool {
    let end = now.advanced(by: seconds)
    while !isDone() {
      guard let next = queue.first, next.at <= end else {
        now = end
        return isDone()
      }
      guard let event = takeFirst() else { break }
      now = event.at
      note(now.nanoseconds)
      event.body()
    }
    return true
  }

  /// Takes something into the trace.
  package func note(_ value: UInt64) {
    events += 1
    for shift in stride(from: 0, to: 64, by: 8) { trace = (trace ^ (value >> UInt64(shift)) & 0xff) &* 0x100_0000_01b3 }
  }

  // MARK: - Datagrams

  /// Sends a datagram of `count` bytes from `side`; `arrived` is called each time that it comes out at the other.
  package func send(_ count: Int, from side: Side, _ arrived: @escaping () -> Void) {
    note(UInt64(count) << 1 | UInt64(side.rawValue))
    for time in paths[side.rawValue].send(count, at: now, &random) {
      plan(time) { [self] in if paths[side.rawValue].isUp { arrived() } }
    }
  }

  /// Changes both directions.
  package func changePaths(_ body: (inout SimulatedPath) -> Void) { for index in paths.indices { body(&paths[index]) } }
}

package import P2PFSCore
import DequeModule
package import P2PFSWire

/// What is known of a peer's program that was started again: it has nothing open any more.
package struct PeerRestart: Sendable, Equatable {
  /// It knows which changes the program before it has made: those without an answer are asked for again. Else they have
  /// failed, but for those that were never sent and speak of names only.
  package var remembers: Bool
  /// What was acknowledged and not synced may be lost, with the memory of its machine (`Hello.machine`).
  package var isOtherMachine: Bool

  /// A restart of the given values.
  package init(remembers: Bool, isOtherMachine: Bool) {
    self.remembers = remembers
    self.isOtherMachine = isOtherMachine
  }
}

/// A request that restores state at a peer that was started again. It is sent before all others.
package struct RecoveryRequest: Sendable {
  let frame: Frame
  let completion: @Sendable (Reply) -> Void

  /// Sends `request` (made by `Request.encoded`), which has one reply. `completion` is called with it on the link's
  /// thread and must not block. It is never called if the connection is lost before: then the handlers are called anew.
  package init(_ request: Frame, completion: @escaping @Sendable (Reply) -> Void) {
    frame = request
    self.completion = completion
  }
}

/// The requests of a recovery. They have slots of their own, since requests whose numbers the peer must recognise may
/// occupy all others. A plain value.
struct Recovery {
  private var waiting = Deque<RecoveryRequest>()
  private var underWay: [Int: RecoveryRequest] = [:]
  /// How often each slot was used, in all recoveries of the session.
  private var counts: [Int: UInt64] = [:]
  private var slots = 0..<0

  /// How many of a peer's `requests` slots are left for all other requests.
  static func others(of requests: Int) -> Int {
    requests - min(Limits.Session.recovery, requests / 16)
  }

  /// Begins anew: requests under way are forgotten. `requests`: how many slots the peer has.
  mutating func begin(_ all: [RecoveryRequest], requests: Int) {
    let requests = min(requests, Limits.Session.requests)
    slots = Recovery.others(of: requests)..<requests
    waiting = slots.isEmpty ? [] : Deque(all)
    underWay = [:]
  }

  /// Whether everything is answered.
  var isDone: Bool { waiting.isEmpty && underWay.isEmpty }

  /// The next request to send, numbered; nil if none may be sent now.
  mutating func next() -> Frame? {
    guard !waiting.isEmpty, let slot = slots.first(where: { underWay[$0] == nil }) else { return nil }
    let request = waiting.removeFirst()
    counts[slot, default: 0] += 1
    request.frame.number(counts[slot, default: 1] << 16 | UInt64(slot))
    underWay[slot] = request
    return request.frame
  }

  /// The completion of the request that a reply belongs to; nil if it is none of these.
  mutating func completion(for header: Header) -> (@Sendable (Reply) -> Void)? {
    let slot = SlotTable.slot(of: header.sequence)
    guard let request = underWay[slot], counts[slot] == header.sequence >> 16, !header.more,
      Operation(rawValue: header.operation) == RequestSummary(of: request.frame).operation
    else { return nil }
    underWay[slot] = nil
    return request.completion
  }
}

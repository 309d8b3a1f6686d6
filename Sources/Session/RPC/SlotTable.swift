import P2PFSCore
import P2PFSWire

/// The exporter's reply cache for one client, one entry for each slot: a change happens exactly once, however often its
/// request is received (the idea is from RFC 8881 2.10.6).
///
/// ```
///          new count                   answered
///  (free) ----------> running(count) ----------> answered(count, reply)
///                        ^   same count: it is on its way, ignore    | same count: send the reply again
///                        '-------------- higher count ---------------'
/// ```
struct SlotTable {
  /// The treatment of a request.
  enum Verdict {
    /// It is new, or changes nothing: execute it.
    case execute
    /// It was executed: this is the reply.
    case answer(Frame)
    /// It is executing, or long over: drop it.
    case ignore
    /// No such slot.
    case violation
  }

  private enum Content {
    case none
    case running
    case answered(Frame)
  }

  private struct Slot {
    var count: UInt64 = 0
    var content = Content.none
  }

  private var slots: [Slot]

  /// A table of `count` slots, at most 65,536.
  init(count: Int) {
    slots = Array(repeating: Slot(), count: count)
  }

  /// The slot of a sequence number.
  static func slot(of sequence: UInt64) -> Int { Int(sequence & 0xffff) }

  /// Whether a sequence number names a slot and a use of it, which count from 1.
  func has(_ sequence: UInt64) -> Bool { SlotTable.slot(of: sequence) < slots.count && sequence >> 16 > 0 }

  /// Registers a request. `changes`: whether executing it twice differs from executing it once.
  mutating func admit(_ sequence: UInt64, changes: Bool) -> Verdict {
    let (index, count) = (SlotTable.slot(of: sequence), sequence >> 16)
    guard has(sequence) else { return .violation }
    if count < slots[index].count { return .ignore }
    if count == slots[index].count {
      switch slots[index].content {
      // A number means one request: that of a query is not that of a change.
      case .none: return changes ? .ignore : .execute
      case .running: return .ignore
      case .answered(let reply): return .answer(reply)
      }
    }
    slots[index] = Slot(count: count, content: changes ? .running : .none)
    return .execute
  }

  /// Stores the reply to a change. Of several replies only the first is stored, as the only one: the data of the rest
  /// may be requested again.
  mutating func record(_ reply: Frame, for sequence: UInt64) {
    let (index, count) = (SlotTable.slot(of: sequence), sequence >> 16)
    guard index < slots.count, slots[index].count == count, case .running = slots[index].content else { return }
    let kept = Frame(copying: reply.bytes)
    kept.setMore(false)
    slots[index].content = .answered(kept)
  }
}

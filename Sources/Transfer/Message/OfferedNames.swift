import P2PFSCore
import P2PFSWire

/// Checks the top-level names of a sender's entries against the offer that the user has seen: each name occurs once and
/// in the order of the offer, and names that were only counted follow.
struct OfferedNames {
  private let names: [[UInt8]]
  private let count: UInt64
  /// The top-level name of the last entry.
  private var current: [UInt8] = []
  /// The number of names that are complete, including the current one.
  private var passed: UInt64 = 0

  /// The names of `offer`.
  init(_ offer: TransferMessage.Offer) {
    names = offer.names
    count = offer.tops
  }

  /// Counts an entry.
  /// - Throws: if its top-level name was not offered, or was complete already.
  mutating func take(_ path: Path) throws(MalformedMessage) {
    let top = path.bytes.prefix { $0 != UInt8(ascii: "/") }
    guard !current.elementsEqual(top) else { return }
    // A name may be skipped: its file is gone.
    let told = names.firstIndex { $0.elementsEqual(top) }.map { UInt64($0) }
    let place = told ?? max(passed, UInt64(names.count))
    guard place >= passed, place < count else { throw MalformedMessage("a name that was not offered") }
    passed = place + 1
    current = Array(top)
  }
}

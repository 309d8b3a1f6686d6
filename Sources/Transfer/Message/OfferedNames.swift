import P2PFSCore
import P2PFSWire

/// Holds a sender to the names at the top that the user has seen: each comes once, in the order in which they were
/// told, and names that were only counted come behind them.
struct OfferedNames {
  private let names: [[UInt8]]
  private let count: UInt64
  /// The name at the top of the last entry.
  private var current: [UInt8] = []
  /// How many names are over with, that one included.
  private var passed: UInt64 = 0

  /// The names of an offer.
  init(_ offer: TransferMessage.Offer) {
    names = offer.names
    count = offer.tops
  }

  /// Takes note of an entry.
  /// - Throws: if its name at the top was not offered, or is over with.
  mutating func take(_ path: Path) throws(MalformedMessage) {
    let top = path.bytes.prefix { $0 != UInt8(ascii: "/") }
    guard !current.elementsEqual(top) else { return }
    // One that is left out was not there any more.
    let told = names.firstIndex { $0.elementsEqual(top) }.map { UInt64($0) }
    let place = told ?? max(passed, UInt64(names.count))
    guard place >= passed, place < count else { throw MalformedMessage("a name that was not offered") }
    passed = place + 1
    current = Array(top)
  }
}

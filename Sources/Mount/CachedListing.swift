import P2PFSCore
import P2PFSWire

/// The entries of a directory, in the peer's order, each name once.
///
/// A value: an open directory keeps the listing it started with, so that offsets in it stay what they are, while
/// the cached one follows our own changes. Names lie one behind the other, so that a million of them takes some 50 MB;
/// of a listing that is too long to be kept no attributes are.
struct CachedListing: Sendable {
  /// An entry. Its attributes are unknown if the peer did not tell them, or we have changed them since.
  struct Entry: Sendable {
    let name: [UInt8]
    var attributes: Attributes?
    /// When the attributes were asked for.
    var asked: Instant
    /// The file's type and its inode at the peer, where they were told at first.
    var type: FileType?
    var identity: UInt64
  }

  private struct Details: Sendable {
    var attributes: Attributes?
    var asked: Instant
  }

  /// When the listing was asked for.
  let asked: Instant
  /// How many entries there are.
  private(set) var count = 0
  /// Bytes of all names.
  var nameBytes: Int { bytes.count }

  private var bytes: [UInt8] = []
  /// Where the name of each place ends in `bytes`.
  private var ends: [Int] = []
  private var types: [UInt8] = []
  private var inodes: [UInt64] = []
  /// Empty if the listing is too long.
  private var details: [Details] = []
  private var removed: Set<Int> = []
  /// Place by the hash of the name; names with the same hash take the next free number.
  private var index: [UInt64: UInt32] = [:]
  private let seed = UInt64.random(in: .min ... .max)

  /// An empty listing, asked for at `asked`.
  init(asked: Instant) { self.asked = asked }

  /// The number of places, of which those of entries that were removed are empty.
  var places: Int { ends.count }

  /// The entry at a place; nil where it was removed, so that the places of the others stay.
  func entry(at place: Int) -> Entry? {
    guard removed.isEmpty || !removed.contains(place) else { return nil }
    let known = place < details.count ? details[place] : nil
    return Entry(
      name: Array(name(at: place)), attributes: known?.attributes, asked: known?.asked ?? asked,
      type: FileType(mode: UInt32(types[place]) << 12), identity: inodes[place])
  }

  /// The entry of this name.
  subscript(name: [UInt8]) -> Entry? { find(name).place.flatMap(entry(at:)) }

  /// Appends an entry that the peer listed. False if the name is there already.
  mutating func append(_ name: [UInt8], _ attributes: Attributes?) -> Bool {
    let (place, slot) = find(name)
    guard place == nil else { return false }
    add(name, slot, attributes, asked: asked)
    return true
  }

  /// Notes what we know of an entry now, which it adds if it is new.
  mutating func set(_ name: [UInt8], _ attributes: Attributes?, asked: Instant) {
    let (place, slot) = find(name)
    guard let place else { return add(name, slot, attributes, asked: asked) }
    if place < details.count { details[place] = Details(attributes: attributes, asked: asked) }
    if let attributes { note(attributes, at: place) }
  }

  /// Notes what we know of an entry, if it is there.
  mutating func set(ifThere name: [UInt8], _ attributes: Attributes?, asked: Instant) {
    if find(name).place != nil { set(name, attributes, asked: asked) }
  }

  /// Forgets the attributes of an entry, if it is there.
  mutating func forgetAttributes(of name: [UInt8]) {
    if let place = find(name).place, place < details.count { details[place].attributes = nil }
  }

  /// Removes an entry, if it is there.
  mutating func remove(_ name: [UInt8]) {
    guard let place = find(name).place else { return }
    // Its number stays taken in the index, for the sake of those behind it.
    removed.insert(place)
    count -= 1
  }

  // MARK: Parts

  private func name(at place: Int) -> ArraySlice<UInt8> {
    bytes[(place == 0 ? 0 : ends[place - 1])..<ends[place]]
  }

  /// The place of a name, and where in the index it is or would be.
  private func find(_ name: [UInt8]) -> (place: Int?, slot: UInt64) {
    var hasher = Hasher()
    hasher.combine(seed)
    name.withUnsafeBytes { hasher.combine(bytes: $0) }
    var slot = UInt64(bitPattern: Int64(hasher.finalize()))
    while let place = index[slot] {
      if !removed.contains(Int(place)), self.name(at: Int(place)).elementsEqual(name) { return (Int(place), slot) }
      slot &+= 1
    }
    return (nil, slot)
  }

  private mutating func add(_ name: [UInt8], _ slot: UInt64, _ attributes: Attributes?, asked: Instant) {
    let place = ends.count
    index[slot] = UInt32(place)
    bytes += name
    ends.append(bytes.count)
    types.append(0)
    inodes.append(0)
    if details.count == place {
      if place < Limits.Mount.cachedEntries {
        details.append(Details(attributes: attributes, asked: asked))
      } else {
        details = []
      }
    }
    if let attributes { note(attributes, at: place) }
    count += 1
  }

  private mutating func note(_ attributes: Attributes, at place: Int) {
    types[place] = UInt8(truncatingIfNeeded: attributes.type.rawValue >> 12)
    inodes[place] = attributes.identity.inode
  }
}

import Core
import Wire

/// The entries of a directory, in the peer's order, each name once.
///
/// A value: an open directory keeps the listing it started with, so that offsets in it stay what they are, while
/// the cached one follows our own changes.
struct DirectoryListing: Sendable {
  /// An entry. Its attributes are unknown if the peer did not tell them, or we have changed them since.
  struct Entry: Sendable {
    let name: [UInt8]
    var attributes: Attributes?
    /// When the attributes were asked for.
    var asked: Instant
  }

  /// In order; nil where an entry was removed, so that the places of the others stay.
  private(set) var entries: [Entry?] = []
  /// When the listing was asked for.
  let asked: Instant
  private var places: [[UInt8]: Int] = [:]

  /// An empty listing, asked for at `asked`.
  init(asked: Instant) { self.asked = asked }

  /// How many entries there are.
  var count: Int { places.count }

  /// The entry of this name.
  subscript(name: [UInt8]) -> Entry? { places[name].flatMap { entries[$0] } }

  /// Appends an entry that the peer listed. False if the name is there already.
  mutating func append(_ name: [UInt8], _ attributes: Attributes?) -> Bool {
    guard places[name] == nil else { return false }
    places[name] = entries.count
    entries.append(Entry(name: name, attributes: attributes, asked: asked))
    return true
  }

  /// Notes what we know of an entry now, which it adds if it is new.
  mutating func set(_ name: [UInt8], _ attributes: Attributes?, asked: Instant) {
    let entry = Entry(name: name, attributes: attributes, asked: asked)
    if let place = places[name] {
      entries[place] = entry
    } else {
      places[name] = entries.count
      entries.append(entry)
    }
  }

  /// Forgets the attributes of an entry, if it is there.
  mutating func forgetAttributes(of name: [UInt8]) {
    if let place = places[name] { entries[place]?.attributes = nil }
  }

  /// Removes an entry, if it is there.
  mutating func remove(_ name: [UInt8]) {
    guard let place = places.removeValue(forKey: name) else { return }
    entries[place] = nil
  }
}

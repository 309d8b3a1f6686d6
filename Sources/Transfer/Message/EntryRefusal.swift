import SystemPackage

/// A reason why a file cannot be received that has no errno(3).
struct EntryRefusal: Error {
  /// Text for the users of both sides.
  let reason: String

  static let differs = EntryRefusal(reason: "a different one is there already (--overwrite replaces it)")
  static let isDirectory = EntryRefusal(reason: "a directory of this name is there already")
  static let isElse = EntryRefusal(reason: "something else of this name is there already")
  static let isForParts = EntryRefusal(reason: "a name that is kept for parts of files")
  static let isTaken = EntryRefusal(reason: "another p2pfs receives it")
  static let hasChanged = EntryRefusal(reason: "what was there of it has changed meanwhile")
  static let hasCome = EntryRefusal(reason: "a different one has come there meanwhile")
  static let isForeignPart = EntryRefusal(
    reason: "the name under which it would grow, .NAME.p2pfs-part, is another user's: receive elsewhere")
  static let isForeign = EntryRefusal(
    reason: "a directory of another user is there, where anybody could have put it: receive elsewhere")
  static let isSwapped = EntryRefusal(reason: "somebody else has put something in its place meanwhile")
  static let isDamaged = EntryRefusal(reason: "it did not arrive as it was sent (its hash differs)")

  /// The text for any error of this layer.
  static func reason(of error: any Error) -> String { (error as? EntryRefusal)?.reason ?? "\(error)" }

  /// Whether the next file would fail with the same error.
  static func isFatal(_ error: any Error) -> Bool {
    guard let error = error as? Errno else { return false }
    return [.noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .ioError].contains(error)
  }
}

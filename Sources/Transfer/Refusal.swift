internal import SystemPackage

/// A reason why a file cannot be received that has no errno(3).
struct Refusal: Error {
  /// Text for the users of both sides.
  let reason: String

  static let differs = Refusal(reason: "a different one is there already (--overwrite replaces it)")
  static let isDirectory = Refusal(reason: "a directory of this name is there already")
  static let isElse = Refusal(reason: "something else of this name is there already")
  static let isForParts = Refusal(reason: "a name that is kept for parts of files")
  static let isTaken = Refusal(reason: "another p2pfs receives it")
  static let hasChanged = Refusal(reason: "what was there of it has changed meanwhile")
  static let hasCome = Refusal(reason: "a different one has come there meanwhile")
  static let isForeignPart = Refusal(
    reason: "the name under which it would grow, .NAME.p2pfs-part, is another user's: receive elsewhere")
  static let isForeign = Refusal(
    reason: "a directory of another user is there, where anybody could have put it: receive elsewhere")
  static let isSwapped = Refusal(reason: "somebody else has put something in its place meanwhile")
  static let isDamaged = Refusal(reason: "it did not arrive as it was sent (its hash differs)")

  /// The text for any error of this layer.
  static func reason(of error: any Error) -> String { (error as? Refusal)?.reason ?? "\(error)" }

  /// Whether the next file would fail with the same error.
  static func isFatal(_ error: any Error) -> Bool {
    guard let error = error as? Errno else { return false }
    return [.noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .ioError].contains(error)
  }
}

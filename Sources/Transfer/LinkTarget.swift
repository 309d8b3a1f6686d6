internal import Core
internal import Wire

/// Which symbolic links travel.
///
/// A link that begins with `/`, or climbs above what is sent, would lead to files that the other side chooses. So the
/// target must be relative, and `..` may only stand at its beginning, at most as often as there are directories that
/// are sent above the link: each name behind it leads further down, and, if it is a link itself, is held to the same
/// rule. A `..` behind a name could climb from wherever that name leads to.
enum LinkTarget {
  /// Whether the link at `path` with this target leads nowhere but into the top entry of its path.
  static func staysInside(_ target: [UInt8], of path: Path) -> Bool {
    guard !target.isEmpty, target.count <= Limits.Wire.linkTarget, target.first != UInt8(ascii: "/"),
      !target.contains(0)
    else { return false }
    // The first component is what is sent; the last one is the link.
    let depth = path.components.count - 2
    var climbs = 0
    var hasDescended = false
    for component in target.split(separator: UInt8(ascii: "/")) {
      if component.elementsEqual([UInt8(ascii: ".")]) { continue }
      if component.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")]) {
        climbs += 1
        guard !hasDescended, climbs <= depth else { return false }
      } else {
        hasDescended = true
      }
    }
    // A link that is sent by itself has nothing beside it.
    return depth >= 0
  }
}

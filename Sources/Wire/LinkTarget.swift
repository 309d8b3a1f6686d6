import P2PFSCore

/// Which symbolic links of the peer are let in.
///
/// A link is followed on this computer, by the kernel. One that begins with `/`, or that climbs above what the peer may
/// name, would lead to files of this computer that the peer chooses. So the target must be relative, and `..` may only
/// stand at its beginning, at most as often as there are directories of the peer's above the link: each name behind it
/// then leads further down, and, if it is a link itself, is held to the same rule. A `..` behind a name could climb from
/// wherever that name leads to.
package enum LinkTarget {
  /// Whether a link with this target stays inside, when it lies `depth` directories below the topmost that is the peer's.
  package static func staysInside(_ target: [UInt8], depth: Int) -> Bool {
    guard target.first != UInt8(ascii: "/") else { return false }
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
    return true
  }

  /// Whether a link that travels at `path` leads nowhere but into the top entry of that path; one that is sent by itself
  /// has nothing beside it.
  package static func staysInside(_ target: [UInt8], of path: Path) -> Bool {
    guard (1...Limits.Wire.linkTarget).contains(target.count), !target.contains(0) else { return false }
    // The first component is what is sent; the last one is the link.
    let depth = path.components.count - 2
    return depth >= 0 && staysInside(target, depth: depth)
  }
}

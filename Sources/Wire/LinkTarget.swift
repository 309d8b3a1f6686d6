/// Which symbolic links of the peer show.
///
/// A link is followed on this computer, by the kernel. One that begins with `/`, or that climbs above the root of
/// the mount, would lead to files of this computer that the peer chooses. So the target must be relative, and `..`
/// may only stand at its beginning, at most as often as the link has directories above it inside the mount: each
/// name behind it then leads further down, and, if it is a link itself, is held to the same rule. A `..` behind a
/// name could climb from wherever that name leads to, so it does not show.
enum SymlinkPolicy {
  /// Whether a link with this target, `depth` directories below the root, stays inside the mount.
  static func staysInside(_ target: [UInt8], depth: Int) -> Bool {
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
}

import P2PFSCore
import SystemPackage
import P2PFSWire

/// The name under which a file grows until it is complete: hidden, beside its own, and the same after a restart.
///
/// `a.txt` grows as `.a.txt.p2pfs-part`. A name that is too long for that is cut, and told apart by the start of its
/// hash: `.NAM~0123456789abcdef.p2pfs-part`. The shortest form, where names are short, has nothing of the name itself.
enum PartName {
  static let suffix = Array(".p2pfs-part".utf8)

  /// Whether a name is of this kind. Nothing of such a name is sent or received, so that no two files meet in one.
  static func isOne(_ name: some Collection<UInt8>) -> Bool {
    name.first == UInt8(ascii: ".") && name.count > suffix.count && name.suffix(suffix.count).elementsEqual(suffix)
  }

  /// Whether any component of a path is of this kind.
  static func isIn(_ path: Path) -> Bool { path.components.contains { isOne($0) } }

  /// Where the file at `path` grows; `isShort`: on a filesystem that does not take the usual name.
  static func path(for path: Path, isShort: Bool = false) throws(Errno) -> Path {
    guard let (parent, name) = path.parentAndName else { throw .invalidArgument }
    return try parent.appending(self.name(for: name, isShort: isShort))
  }

  static func name(for name: ArraySlice<UInt8>, isShort: Bool = false) -> [UInt8] {
    let room = Limits.Wire.name - 1 - suffix.count
    guard isShort || name.count > room else { return [UInt8(ascii: ".")] + name + suffix }
    let digits = Array("0123456789abcdef".utf8)
    let hash = Digest.hash(of: Array(name)).bytes.prefix(8).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    return [UInt8(ascii: ".")] + (isShort ? [] : cut(name, room - 17)) + [UInt8(ascii: "~")] + hash + suffix
  }

  /// At most `count` bytes of a name, and no part of a character: some filesystems take nothing but UTF-8.
  private static func cut(_ name: ArraySlice<UInt8>, _ count: Int) -> ArraySlice<UInt8> {
    var end = name.startIndex + count
    while end > name.startIndex, name[end] & 0xc0 == 0x80 { end -= 1 }
    return name[..<end]
  }
}

import P2PFSCore
import SystemPackage
import P2PFSWire

/// The name of a file while it is being received: hidden, in the same directory, and the same after a restart.
///
/// The part file of `a.txt` is `.a.txt.p2pfs-part`. A name that is too long for that is cut, and the start of its hash
/// is added: `.NAM~0123456789abcdef.p2pfs-part`. The shortest form, for filesystems with short names, has no part of
/// the name.
enum PartName {
  static let suffix = Array(".p2pfs-part".utf8)

  /// Whether a name has the form of a part file. Files with such names are neither sent nor received, so that no two
  /// files share a part file.
  static func isOne(_ name: some Collection<UInt8>) -> Bool {
    name.first == UInt8(ascii: ".") && name.count > suffix.count && name.suffix(suffix.count).elementsEqual(suffix)
  }

  /// Whether any component of a path has that form.
  static func isIn(_ path: Path) -> Bool { path.components.contains { isOne($0) } }

  /// The path of the part file for `path`; `isShort`: for a filesystem that does not accept the usual name.
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

  /// At most `count` bytes of a name, without an incomplete character at the end: some filesystems accept only UTF-8.
  private static func cut(_ name: ArraySlice<UInt8>, _ count: Int) -> ArraySlice<UInt8> {
    var end = name.startIndex + count
    while end > name.startIndex, name[end] & 0xc0 == 0x80 { end -= 1 }
    return name[..<end]
  }
}

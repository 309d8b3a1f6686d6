package import SystemPackage
import P2PFSCore

/// A path relative to the root of an export: bytes, not text, and known to be harmless.
///
/// Components are separated by one `/`; there is no leading or trailing one. The root is the empty path.
/// No component is empty, `.` or `..`, holds a NUL, or is longer than `Limits.Wire.name`. A value of this
/// type was checked, wherever it came from.
package struct Path: Sendable, Hashable {
  /// The bytes, without a terminator.
  package let bytes: [UInt8]

  /// The root of the export.
  package static let root = Path(trusted: [])

  private init(trusted bytes: [UInt8]) { self.bytes = bytes }

  /// Checks `bytes`.
  /// - Throws: `EINVAL` for an empty, `.` or `..` component or a NUL, `ENAMETOOLONG` for one that is too
  ///   long, or a path that is too long or too deep.
  package init(_ bytes: some Collection<UInt8>) throws(Errno) {
    guard bytes.count <= Limits.Wire.path else { throw .fileNameTooLong }
    if bytes.isEmpty {
      self = .root
      return
    }
    var depth = 0
    for component in bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
      try Path.check(component: component)
      depth += 1
    }
    guard depth <= Limits.Wire.depth else { throw .fileNameTooLong }
    self.bytes = Array(bytes)
  }

  /// Checks one name, as it stands in a directory.
  /// - Throws: `EINVAL` if it is empty, `.`, `..` or holds a `/` or NUL; `ENAMETOOLONG` over 255 bytes.
  package static func check(component: some Collection<UInt8>) throws(Errno) {
    guard component.count <= Limits.Wire.name else { throw .fileNameTooLong }
    guard !component.isEmpty, !component.contains(0), !component.contains(UInt8(ascii: "/")) else {
      throw .invalidArgument
    }
    if component.count <= 2, component.allSatisfy({ $0 == UInt8(ascii: ".") }) { throw .invalidArgument }
  }

  /// Whether this is the root of the export.
  package var isRoot: Bool { bytes.isEmpty }

  /// The path of the entry `name` in this directory. Throws what `init` throws.
  package func appending(_ name: some Collection<UInt8>) throws(Errno) -> Path {
    try Path.check(component: name)
    guard !isRoot else { return Path(trusted: Array(name)) }
    guard bytes.count + 1 + name.count <= Limits.Wire.path else { throw .fileNameTooLong }
    return Path(trusted: bytes + [UInt8(ascii: "/")] + name)
  }

  /// The directory that holds this entry, and the entry's name; nil for the root.
  package var parentAndName: (parent: Path, name: ArraySlice<UInt8>)? {
    guard !isRoot else { return nil }
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return (.root, bytes[...]) }
    return (Path(trusted: Array(bytes[..<slash])), bytes[(slash + 1)...])
  }

  /// The components, outermost first.
  package var components: [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "/")) }
}

import CP2PFSLinux
import P2PFSCore
import Glibc
package import SystemPackage
package import P2PFSWire

/// What walks through a tree, or works on what it has opened, without a session.
extension ConfinedDirectory {
  /// The names in the directory at `path`, in their order as bytes.
  /// - Throws: `EPERM` for a barred mount, `EFBIG` if there are more than `limit`.
  package func names(in path: Path, limit: Int) throws(Errno) -> [[UInt8]] {
    guard let directory = try openDirectory(Place(path)) else { throw .notPermitted }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.Export.directoryBuffer, alignment: 8)
    defer { buffer.deallocate() }
    var names: [[UInt8]] = []
    while true {
      let count = p2pfs_getdents64(directory.rawValue, buffer.baseAddress, buffer.count)
      guard count >= 0 else { throw Errno(rawValue: errno) }
      guard count > 0 else { break }
      var rest = UnsafeRawBufferPointer(rebasing: buffer[..<count])[...]
      while !rest.isEmpty {
        // struct linux_dirent64: d_ino (8), d_off (8), d_reclen (2), d_type (1), d_name, a NUL.
        let entry = UnsafeRawBufferPointer(rebasing: rest)
        let length = Int(entry.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
        let name = entry[19..<length].prefix { $0 != 0 }
        if (try? Path.check(component: name)) != nil {
          guard names.count < limit else { throw .fileTooLarge }
          names.append(Array(name))
        }
        rest = rest.dropFirst(length)
      }
    }
    return names.sorted { $0.lexicographicallyPrecedes($1) }
  }

  /// Whether a mount that is not served is at `path`.
  package func isBarred(_ path: Path) throws(Errno) -> Bool { try objectOrBarrier(at: path).isBarred }

  /// As the functions of the same names do with a `Place`, with whatever is at a path.
  package func open(_ path: Path, _ options: OpenOptions) throws(Errno) -> Descriptor { try open(Place(path), options) }
  package func create(_ path: Path, _ options: OpenOptions, mode: UInt32) throws(Errno) -> Descriptor {
    try create(Place(path), options, mode: mode)
  }
  package func makeDirectory(at path: Path, mode: UInt32) throws(Errno) -> Attributes {
    try makeDirectory(at: Place(path), mode: mode)
  }
  package func makeSymbolicLink(at path: Path, target: [UInt8]) throws(Errno) -> Attributes {
    try makeSymbolicLink(at: Place(path), target: target)
  }
  package func link(_ existing: Path, to path: Path) throws(Errno) -> Attributes {
    try link(Place(existing), to: Place(path))
  }
  package func unlink(_ path: Path) throws(Errno) { try unlink(Place(path)) }
  package func rename(_ path: Path, to: Path, _ mode: RenameMode) throws(Errno) {
    try rename(Place(path), to: Place(to), mode)
  }
  package func change(_ path: Path, _ changes: AttributeChanges) throws(Errno) -> Attributes {
    try change(Place(path), changes)
  }

  /// The attributes of an open file.
  package func attributes(of file: borrowing Descriptor) throws(Errno) -> Attributes {
    try FileStatus(file.rawValue).attributes(file.rawValue)
  }
}

import CP2PFSLinux
import P2PFSCore
import Glibc
package import SystemPackage
package import P2PFSWire

/// What changes or reads directories: one name in one directory that was resolved before.
///
/// Modes are those that the peer asks for, with the umask of its program, or that of the thread if none is named.
extension ConfinedDirectory {
  /// The attributes of what is at `path`; of a barred mount those of an empty directory.
  package func attributes(at path: Path) throws(Errno) -> Attributes { try attributes(at: Place(path)) }

  /// As `attributes(at:)`, of a path.
  /// - Throws: `ESTALE`, too, if the place is not what is expected.
  package func attributes(at place: Place) throws(Errno) -> Attributes {
    let object = try objectOrBarrier(at: place)
    guard !object.isBarred else { return try barredAttributes(object.descriptor.rawValue, "") }
    return try FileStatus(object.descriptor.rawValue).attributes(object.descriptor.rawValue)
  }

  /// The attributes of the entry `name` of an open directory on `device`, without asking a barred mount anything.
  ///
  /// `isRemote` says that the directory's filesystem may know better than the kernel's cache.
  func attributes(
    of name: UnsafePointer<CChar>, in directory: CInt, on device: UInt64, isRemote: Bool
  ) throws(Errno) -> Attributes {
    let found: FileStatus
    do {
      found = try FileStatus(directory, name, isCached: true)
    } catch {
      // A FUSE mount of another user says nothing but its device.
      guard error == .permissionDenied else { throw error }
      let bare = try FileStatus(directory, name, isCached: true, mask: 0)
      guard try isBarred(bare, in: device) else { throw error }
      return FileStatus.barred(device: bare.device)
    }
    if found.device != device || own.bars(found) {
      if try isBarred(found, in: device) { return try barredAttributes(directory, name) }
      return try FileStatus(directory, name).attributes(directory, name)
    }
    return (isRemote ? try FileStatus(directory, name) : found).attributes(directory, name)
  }

  /// The attributes of what is barred, or of a file of which a filesystem that is barred says something.
  func barredAttributes(_ directory: CInt, _ name: UnsafePointer<CChar>) throws(Errno) -> Attributes {
    if let status = try? FileStatus(directory, name, isCached: true), let type = status.type, type != .directory {
      return status.attributes(rights: [])
    }
    return FileStatus.barred(device: try FileStatus(directory, name, isCached: true, mask: 0).device)
  }

  /// Makes a directory: mkdirat(2). It gets the group of a directory with a setgid bit, and that bit, from the kernel.
  package func makeDirectory(at place: Place, mode: UInt32, umask: UInt32? = nil) throws(Errno) -> Attributes {
    let entry = try entry(at: place, ofRoot: .fileExists)
    try make(in: entry, mode: mode & 0o1777, umask) { mkdirat($0, $1, $2) }
    return try attributes(of: entry)
  }

  /// Makes a FIFO, a socket that nobody listens on, or an empty regular file: mknodat(2).
  /// - Throws: `EPERM` for any other type.
  func makeNode(at place: Place, mode: UInt32, umask: UInt32? = nil) throws(Errno) -> Attributes {
    let entry = try entry(at: place, ofRoot: .fileExists)
    switch FileType(mode: mode) {
    case .fifo, .socket, .regular: break
    default: throw .notPermitted
    }
    try make(in: entry, mode: mode & 0o171777, umask) { mknodat($0, $1, $2, 0) }
    return try attributes(of: entry)
  }

  private func make(
    in entry: borrowing Entry, mode: UInt32, _ umask: UInt32?,
    _ call: (CInt, UnsafePointer<CChar>, mode_t) -> CInt
  ) throws(Errno) {
    let directory = entry.directory.rawValue
    let name = entry.name
    try WorkerUmask.with(umask, mode: mode, in: directory) { mode throws(Errno) in
      try check(call(directory, name, mode))
    }
  }

  /// Makes a symbolic link; its target is data, never followed here.
  package func makeSymbolicLink(at place: Place, target: [UInt8]) throws(Errno) -> Attributes {
    let entry = try entry(at: place, ofRoot: .fileExists)
    try check(symlinkat(cString(target), entry.directory.rawValue, entry.name))
    return try attributes(of: entry)
  }

  /// The target of the symbolic link at `path`.
  /// - Throws: `EINVAL` if it is none.
  package func target(ofLinkAt path: Path) throws(Errno) -> [UInt8] {
    let link = try object(at: path)
    guard try FileStatus(link.rawValue, mask: FileStatus.type).type == .symbolicLink else { throw .invalidArgument }
    var buffer = [CChar](repeating: 0, count: Limits.Wire.linkTarget + 1)
    let count = readlinkat(link.rawValue, "", &buffer, buffer.count)
    guard count >= 0 else { throw Errno(rawValue: errno) }
    guard count <= Limits.Wire.linkTarget else { throw .fileNameTooLong }
    return buffer[..<count].map { UInt8(bitPattern: $0) }
  }

  /// Gives the file at `existing` the further name at `place`; a symbolic link is linked itself.
  package func link(_ existing: Place, to place: Place) throws(Errno) -> Attributes {
    let object = try object(at: existing)
    return try link(object.rawValue, to: place)
  }

  /// Gives the open file the further name at `place`: linkat(2) by /proc/self/fd, which needs no privilege.
  /// - Throws: `ENOENT` if it has no name any more.
  func link(_ existing: CInt, to place: Place) throws(Errno) -> Attributes {
    let entry = try entry(at: place, ofRoot: .fileExists)
    try check(
      linkat(AT_FDCWD, procPathOfDescriptor(existing), entry.directory.rawValue, entry.name, AT_SYMLINK_FOLLOW))
    return try attributes(of: entry)
  }

  /// Removes a name of what is no directory.
  package func unlink(_ place: Place) throws(Errno) {
    let entry = try entry(at: place, ofRoot: .isDirectory)
    try own.expectFree(entry.directory, entry.name)
    try check(unlinkat(entry.directory.rawValue, entry.name, 0))
  }

  /// Removes an empty directory.
  func removeDirectory(_ place: Place) throws(Errno) {
    let entry = try entry(at: place)
    try own.expectFree(entry.directory, entry.name)
    try check(unlinkat(entry.directory.rawValue, entry.name, AT_REMOVEDIR))
  }

  /// renameat2(2).
  package func rename(_ place: Place, to: Place, _ mode: RenameMode) throws(Errno) {
    let from = try entry(at: place)
    let to = try entry(at: to)
    try own.expectFree(from.directory, from.name)
    try own.expectFree(to.directory, to.name)
    let flags: UInt32 =
      switch mode {
      case .replace: 0
      case .noReplace: 1
      case .exchange: 2
      }
    try check(p2pfs_renameat2(from.directory.rawValue, from.name, to.directory.rawValue, to.name, flags))
  }

  private func attributes(of entry: borrowing Entry) throws(Errno) -> Attributes {
    let directory = entry.directory.rawValue
    let device = try FileStatus(directory, mask: FileStatus.type).device
    return try attributes(of: entry.name, in: directory, on: device, isRemote: true)
  }
}

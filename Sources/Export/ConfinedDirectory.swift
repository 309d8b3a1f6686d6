import CP2PFSLinux
import P2PFSCore
import Glibc
package import SystemPackage
import P2PFSWire

/// The directory that is exported: the one place where a path of a peer meets the filesystem.
///
/// Every path is resolved by openat2(2) beneath the root without following any link, up to its last
/// component, which is not followed either; what changes directories does so by one validated name in the
/// directory that this gave. Nothing is opened before it is known to be a regular file or a directory: first
/// with O_PATH, which runs no driver and wakes no FIFO, then that very file again by its link in
/// /proc/self/fd. A component swapped for a symbolic link meanwhile is thus refused or never noticed.
///
/// What is mounted inside is served, unless `oneFileSystem`; but mounts of p2pfs are **barred**: they look like
/// empty directories, and answer everything but `lookup` and `list` with EPERM. Crossing into any mount is
/// refused to openat2 (RESOLVE_NO_XDEV), and then done by a walk of held descriptors, one component at a
/// time, which looks at the device before the next step. The same walk serves where there is no openat2
/// (Linux before 5.6, seccomp filters of old containers).
package final class ConfinedDirectory: Sendable {
  /// What a path leads to, opened with O_PATH.
  struct Object: ~Copyable {
    let descriptor: Descriptor
    /// It is a mount that is not served; nothing may be asked of it.
    let isBarred: Bool
  }

  /// A name in a directory, which need not be there.
  struct Entry: ~Copyable {
    let directory: Descriptor
    /// One validated component, NUL-terminated.
    let name: [CChar]
  }

  let root: Descriptor
  private let rootDevice: UInt64
  private let oneFileSystem: Bool
  private let usesOpenat2: Bool
  private let mounts: MountedDevices
  /// What is barred though it is no mount.
  let own: OwnDirectories

  /// Opens the directory `path`, whose own symbolic links are followed: it is the exporting user who names it.
  ///
  /// - Parameters:
  ///   - barring: directories of p2pfs itself, by their absolute paths, which look empty if they lie beneath.
  ///   - oneFileSystem: bars every filesystem mounted inside, not only those of p2pfs.
  ///   - walking: resolves as on a kernel without openat2.
  /// - Throws: what open(2) does; `EPERM` if it lies on a p2pfs mount, `EBUSY` if it is one of `barring` or lies in one.
  package init(
    _ path: FilePath, barring: [String] = [], oneFileSystem: Bool = false, walking: Bool = false
  ) throws(Errno) {
    mounts = try MountedDevices()
    Overlays.prepare()
    let opened = path.withCString { p2pfs_openat(AT_FDCWD, $0, O_PATH | O_DIRECTORY | O_CLOEXEC, 0) }
    root = try Descriptor(opened)
    rootDevice = try FileStatus(root.rawValue, isCached: true, mask: 0).device
    self.oneFileSystem = oneFileSystem
    guard try !mounts.isOurs(rootDevice) else { throw .notPermitted }
    // After that look: it asks the filesystem.
    own = try OwnDirectories(barring, beneath: root)
    usesOpenat2 = !walking && own.isEmpty && ConfinedDirectory.hasOpenat2(root)
  }

  private static func hasOpenat2(_ root: borrowing Descriptor) -> Bool {
    guard let found = try? Descriptor(p2pfs_openat2(root.rawValue, ".", UInt64(O_PATH | O_CLOEXEC), confined)) else {
      return false
    }
    return found.rawValue >= 0
  }

  /// RESOLVE_NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS and BENEATH of openat2(2).
  private static let confined: UInt64 = 0x01 | 0x02 | 0x04 | 0x08

  /// What is at `path`, opened with O_PATH; a symbolic link is opened itself.
  /// - Throws: `EPERM` if it is barred or lies in what is; `ELOOP` if a directory on the way is a symbolic link.
  func object(at path: Path) throws(Errno) -> Descriptor { try object(at: Place(path)) }

  /// As `object(at:)`, of a path.
  /// - Throws: `ESTALE`, too, if the place is not what is expected.
  func object(at place: Place) throws(Errno) -> Descriptor {
    let object = try objectOrBarrier(at: place)
    guard !object.isBarred else { throw .notPermitted }
    return object.unbarred()
  }

  /// As `object`, but a barred mount is no error: for `lookup` and `list`.
  func objectOrBarrier(at path: Path) throws(Errno) -> Object {
    guard !path.isRoot else { return Object(descriptor: try duplicateRoot(), isBarred: false) }
    if usesOpenat2, let found = try resolve(path) { return Object(descriptor: found, isBarred: false) }
    return try walk(path)
  }

  /// As `objectOrBarrier(at:)`, of a path.
  /// - Throws: `ESTALE`, too, if the place is not what is expected.
  func objectOrBarrier(at place: Place) throws(Errno) -> Object {
    let object: Object
    if place.directory == nil || place.path.isRoot {
      object = try objectOrBarrier(at: place.path)
    } else {
      // From the directory that was looked at: its path may lead elsewhere a moment later.
      object = try self.object(of: try entry(at: place))
    }
    if let file = place.file, try identity(of: object) != file { throw .staleNFSFileHandle }
    return object
  }

  /// What has a name in a directory, opened with O_PATH.
  func object(of entry: borrowing Entry) throws(Errno) -> Object {
    let directory = entry.directory.rawValue
    if usesOpenat2, let found = try step(entry.name, O_NOFOLLOW, from: directory) {
      return Object(descriptor: found, isBarred: false)
    }
    let device = try FileStatus(directory, isCached: true, mask: 0).device
    return try step(entry.name, from: directory, on: device).unpacked()
  }

  private func identity(of object: borrowing Object) throws(Errno) -> FileIdentity {
    let file = object.descriptor.rawValue
    guard !object.isBarred else { return try barredAttributes(file, "").identity }
    return try FileStatus(file, mask: FileStatus.identity).identity
  }

  /// Resolves the path by openat2(2); nil if that does not work, because of a mount on the way or too many renames.
  ///
  /// A path of more than PATH_MAX is resolved in parts, each beneath the directory that the one before has led to, which
  /// is held open. It cannot lead out of the share any more than in one call: no part has a link or `..`, so each step
  /// goes down from a directory that lay in the share when it was reached. If that is moved out meanwhile, what is found
  /// is beneath it still, as it is for a program that is in the middle of a path in the kernel.
  private func resolve(_ path: Path) throws(Errno) -> Descriptor? {
    try resolve(path.bytes[...], from: root.rawValue)
  }

  private func resolve(_ path: ArraySlice<UInt8>, from directory: CInt) throws(Errno) -> Descriptor? {
    guard path.count > Limits.Wire.pathPart else { return try step(cString(path), O_NOFOLLOW, from: directory) }
    guard let slash = path.prefix(Limits.Wire.pathPart + 1).lastIndex(of: UInt8(ascii: "/")) else {
      throw .fileNameTooLong
    }
    // Not O_NOFOLLOW: a link is to be refused as one. At most eight levels.
    guard let next = try step(cString(path[..<slash]), O_DIRECTORY, from: directory) else { return nil }
    return try resolve(path[(slash + 1)...], from: next.rawValue)
  }

  private func step(_ name: [CChar], _ flags: CInt, from directory: CInt) throws(Errno) -> Descriptor? {
    for _ in 0..<Limits.Export.resolutionTries {
      let result = p2pfs_openat2(
        directory, name, UInt64(O_PATH | O_CLOEXEC | flags), ConfinedDirectory.confined)
      if result >= 0 { return try Descriptor(result) }
      // A rename came in between: the next try sees one state or the other.
      if errno == EAGAIN || errno == EINTR { continue }
      if errno == EXDEV { return nil }
      throw Errno(rawValue: errno)
    }
    return nil
  }

  /// The directory that holds `place`, and the name in it; the file that it expects is not looked at.
  /// - Throws: what `object` throws; `ESTALE` if it is not the directory that the place expects; `ofRoot` for the root of
  ///   the export, which has no name.
  func entry(at place: Place, ofRoot: Errno = .resourceBusy) throws(Errno) -> Entry {
    guard let (parent, name) = place.path.parentAndName else { throw ofRoot }
    let directory = try object(at: parent)
    if let expected = place.directory,
      try FileStatus(directory.rawValue, mask: FileStatus.identity).identity != expected
    {
      throw .staleNFSFileHandle
    }
    return Entry(directory: directory, name: cString(name))
  }

  private func duplicateRoot() throws(Errno) -> Descriptor {
    try Descriptor(p2pfs_openat(root.rawValue, ".", O_PATH | O_CLOEXEC, 0))
  }

  /// Resolves one component after the other, each from a descriptor that is held: no step follows a link, and
  /// none goes up, whatever is renamed meanwhile.
  private func walk(_ path: Path) throws(Errno) -> Object {
    var current = Object(descriptor: try duplicateRoot(), isBarred: false)
    var device = rootDevice
    for component in path.components {
      guard !current.isBarred else { throw .notPermitted }
      let next = try step(cString(component), from: current.descriptor.rawValue, on: device)
      device = next.device
      current = next.unpacked()
    }
    return current
  }

  /// What a step of a walk has come to.
  private struct Step: ~Copyable {
    let object: Object
    let device: UInt64

    consuming func unpacked() -> Object { object }
  }

  /// Opens one component from an open directory on `device`.
  private func step(_ name: [CChar], from directory: CInt, on device: UInt64) throws(Errno) -> Step {
    let result = p2pfs_openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)
    if result < 0 {
      let error = Errno(rawValue: errno)
      guard error == .notDirectory else { throw error }
      let isLink = try FileStatus(directory, mask: FileStatus.type).type == .symbolicLink
      throw isLink ? .tooManySymbolicLinkLevels : .notDirectory
    }
    let descriptor = try Descriptor(result)
    let status = try FileStatus(descriptor.rawValue, isCached: true, mask: 0)
    return Step(
      object: Object(descriptor: descriptor, isBarred: try isBarred(status, in: device)), device: status.device)
  }

  /// Whether what has `status`, found in a directory on `device`, is a mount that is not served.
  /// The status may be one that was taken without asking the filesystem.
  func isBarred(_ status: FileStatus, in device: UInt64) throws(Errno) -> Bool {
    guard !own.bars(status) else { return true }
    guard status.device != device else { return false }
    // Some filesystems give files a device of their own without anything being mounted there.
    if oneFileSystem, status.isMountRoot ?? (status.type == .directory) { return true }
    return try mounts.isOurs(status.device)
  }
}

extension ConfinedDirectory.Object {
  consuming func unbarred() -> Descriptor { descriptor }
}

import CP2PFSLinux
import P2PFSCore
import Glibc
package import SystemPackage
package import P2PFSWire

/// What opens files for real, and what changes a file rather than a directory.
extension ConfinedDirectory {
  /// Opens the regular file or directory at `place` for reading, writing or both.
  /// - Throws: `ELOOP` for a symbolic link, `ENXIO` for a FIFO, socket or device, at once.
  package func open(_ place: Place, _ options: OpenOptions) throws(Errno) -> Descriptor {
    let flags = try ConfinedDirectory.flags(options)
    return try openReally(object(at: place), flags, options)
  }

  /// Opens the regular file at `place`, which it makes if nothing is there.
  package func create(
    _ place: Place, _ options: OpenOptions, mode: UInt32, umask: UInt32? = nil
  ) throws(Errno) -> Descriptor {
    let flags = try ConfinedDirectory.flags(options)
    for _ in 0..<Limits.Export.resolutionTries {
      let entry = try entry(at: place, ofRoot: .isDirectory)
      // O_EXCL: what is there already is never followed, and opened only after a look at its type.
      do throws(Errno) {
        let (directory, name) = (entry.directory.rawValue, entry.name)
        return try WorkerUmask.with(umask, mode: mode & 0o1777, in: directory) { mode throws(Errno) in
          try Descriptor(p2pfs_openat(directory, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode))
        }
      } catch {
        guard error == .fileExists, !options.contains(.exclusive) else { throw error }
      }
      do throws(Errno) {
        let existing = try openReally(object(at: place), flags, options)
        guard try FileStatus(existing.rawValue, mask: FileStatus.type).type == .regular else { throw Errno.isDirectory }
        return existing
      } catch {
        // Removed in between: make it after all.
        guard error == .noSuchFileOrDirectory else { throw error }
      }
    }
    throw .resourceTemporarilyUnavailable
  }

  /// Opens the directory at `place` for reading its entries; nil if it is barred.
  func openDirectory(_ place: Place) throws(Errno) -> Descriptor? {
    let object = try objectOrBarrier(at: place)
    guard !object.isBarred else { return nil }
    let directory = object.unbarred()
    guard try FileStatus(directory.rawValue, mask: FileStatus.type).type == .directory else { throw .notDirectory }
    return try openReally(directory, O_RDONLY | O_CLOEXEC | O_NONBLOCK, .read)
  }

  /// Opens what is open with O_PATH once more for real, after a look at its type.
  private func openReally(
    _ object: consuming Descriptor, _ flags: CInt, _ options: OpenOptions
  ) throws(Errno) -> Descriptor {
    let object = object
    switch try FileStatus(object.rawValue, mask: FileStatus.type).type {
    case .regular: break
    case .directory:
      guard flags & (O_ACCMODE | O_TRUNC) == O_RDONLY else { throw .isDirectory }
      // Not by /proc: a name of one's own is as safe and works where /proc is hidden.
      return try Descriptor(p2pfs_openat(object.rawValue, ".", flags | O_DIRECTORY, 0))
    case .symbolicLink: throw .tooManySymbolicLinkLevels
    default: throw .noSuchAddressOrDevice
    }
    return try ConfinedDirectory.openByLink(object.procPath(), flags, options)
  }

  /// Opens a regular file that is open, with O_PATH or otherwise, once more: it may have no name any more.
  static func openAgain(_ descriptor: CInt, _ options: OpenOptions) throws(Errno) -> Descriptor {
    try openByLink(procPathOfDescriptor(descriptor), flags(options), options)
  }

  /// A file that the system opens for appending only (chattr(1) +a) is opened so, if the peer is going to append.
  private static func openByLink(
    _ link: [CChar], _ flags: CInt, _ options: OpenOptions
  ) throws(Errno) -> Descriptor {
    let opened = p2pfs_openat(AT_FDCWD, link, flags, 0)
    guard opened < 0, errno == EPERM, options.contains([.write, .append]) else { return try Descriptor(opened) }
    return try Descriptor(p2pfs_openat(AT_FDCWD, link, flags | O_APPEND, 0))
  }

  /// The flags of open(2). O_NONBLOCK: should a lease or a lock stand in the way, we do not wait.
  private static func flags(_ options: OpenOptions) throws(Errno) -> CInt {
    var flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY
    switch (options.contains(.read), options.contains(.write)) {
    case (true, true): flags |= O_RDWR
    case (true, false): flags |= O_RDONLY
    case (false, true): flags |= O_WRONLY
    case (false, false): throw .invalidArgument
    }
    // O_RDONLY | O_TRUNC truncates on Linux, if the file may be written.
    if options.contains(.truncate) { flags |= O_TRUNC }
    return flags
  }

  /// Changes attributes of what is at `place`: size, then mode, then times, which the others would change.
  package func change(_ place: Place, _ changes: AttributeChanges) throws(Errno) -> Attributes {
    let object = try object(at: place)
    return try change(object.rawValue, changes)
  }

  /// Changes attributes of an open file, or of what is open with O_PATH.
  package func change(_ descriptor: CInt, _ changes: AttributeChanges) throws(Errno) -> Attributes {
    let status = try FileStatus(descriptor, mask: FileStatus.type)
    let path = procPathOfDescriptor(descriptor)
    if let size = changes.size {
      switch status.type {
      case .regular: break
      case .directory: throw .isDirectory
      default: throw .invalidArgument
      }
      // Opened for this alone: it fails exactly if the exporting user may not write the file.
      let file = try Descriptor(p2pfs_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0))
      try check(ftruncate(file.rawValue, off_t(size)))
    }
    if let mode = changes.mode {
      // The mode of a symbolic link means nothing, and some filesystems would change it all the same.
      guard status.type != .symbolicLink else { throw .notSupported }
      // The setgid bit of a directory never travels, so a peer's chmod must not clear it.
      let kept = status.type == .directory ? status.mode & 0o2000 : 0
      func change() throws(Errno) { try check(chmod(path, mode & 0o1777 | kept)) }
      if kept == 0 { try change() } else { try WorkerConfinement.keepingSetgid(change) }
    }
    if changes.accessed != nil || changes.modified != nil {
      let times = [timespec(changes.accessed), timespec(changes.modified)]
      try check(utimensat(AT_FDCWD, path, times, 0))
    }
    return try FileStatus(descriptor).attributes(descriptor)
  }

  /// statvfs(3) of the filesystem that holds `path`.
  package func statistics(at path: Path) throws(Errno) -> FilesystemStatistics {
    let object = try object(at: path)
    var s = statvfs()
    try check(fstatvfs(object.rawValue, &s))
    return FilesystemStatistics(
      blockSize: UInt64(s.f_bsize), fragmentSize: UInt64(s.f_frsize), blocks: UInt64(s.f_blocks),
      freeBlocks: UInt64(s.f_bfree), availableBlocks: UInt64(s.f_bavail), files: UInt64(s.f_files),
      freeFiles: UInt64(s.f_ffree), nameLength: UInt64(s.f_namemax))
  }
}

extension timespec {
  /// As utimensat(2) takes it; nil leaves the time as it is.
  fileprivate init(_ change: TimeChange?) {
    switch change {
    case nil: self.init(tv_sec: 0, tv_nsec: (1 << 30) - 2)  // UTIME_OMIT
    case .now: self.init(tv_sec: 0, tv_nsec: (1 << 30) - 1)  // UTIME_NOW
    case .set(let time): self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
  }
}

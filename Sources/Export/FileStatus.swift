import CP2PFSLinux
import P2PFSCore
import Glibc
import SystemPackage
import P2PFSWire

/// The type of a file on the wire; SystemPackage has one of its own.
typealias FileType = P2PFSWire.FileType

/// What statx(2) says of a file.
struct FileStatus {
  private let status: p2pfs_status
  /// When it was asked for, by the clock that the times of files are of; nil if those were not.
  private let asked: Timestamp?

  /// Asks for everything that travels.
  static let all = UInt32(0xfff)  // STATX_BASIC_STATS, STATX_BTIME

  /// Asks for the type, the mode and the device alone.
  static let type = UInt32(0x3)  // STATX_TYPE, STATX_MODE

  /// Asks for which file it is: STATX_INO and STATX_BTIME besides.
  static let identity = UInt32(0x903)

  /// The status of what `name` in the directory open at `directory` is, without following anything or waking an
  /// automounter; an empty name means the descriptor itself.
  ///
  /// With `isCached` the filesystem is not asked, but what the kernel has cached is taken: a FUSE filesystem
  /// gets no request. With a mask of 0, only `device` is to be believed.
  init(_ directory: CInt, _ name: UnsafePointer<CChar>, isCached: Bool = false, mask: UInt32 = all) throws(Errno) {
    var result = p2pfs_status()
    // Before the call: what is changed after it gets a later time, or one of the same tick.
    asked = mask == FileStatus.all ? FileStatus.now : nil
    let flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | (isCached ? AT_STATX_DONT_SYNC : 0)
    try check(p2pfs_statx(directory, name, flags, mask, &result))
    status = result
  }

  /// The status of an open file.
  init(_ descriptor: CInt, isCached: Bool = false, mask: UInt32 = all) throws(Errno) {
    try self.init(descriptor, "", isCached: isCached, mask: mask)
  }

  /// The filesystem, as st_dev.
  var device: UInt64 { status.device }
  /// The number of the file on it.
  var inode: UInt64 { status.inode }
  /// Which file it is.
  var identity: FileIdentity {
    FileIdentity(device: device, inode: inode, generation: Overlays.contain(device) ? 0 : status.birth)
  }
  /// The type and permissions, as the exporter's kernel has them.
  var mode: UInt32 { status.mode }
  var owner: UInt32 { status.owner }
  var group: UInt32 { status.group }
  /// Whether nobody may change it, root included (chattr(1) +i); false where the filesystem does not say.
  var isImmutable: Bool { status.is_immutable != 0 }
  /// The type; nil for one that Linux does not know.
  var type: FileType? { FileType(mode: status.mode) }
  /// Whether something is mounted here; nil on kernels that do not say (before 5.8).
  var isMountRoot: Bool? { status.knows_mount_root != 0 ? status.is_mount_root != 0 : nil }

  /// The attributes as they travel, of what this is the status of: that may be asked for the rights to it, so it must not
  /// be a barred mount.
  func attributes(_ directory: CInt, _ name: UnsafePointer<CChar>) -> Attributes {
    attributes(rights: Credentials.ofProcess.rights(of: self, directory, name))
  }

  /// The attributes of an open file.
  func attributes(_ descriptor: CInt) -> Attributes { attributes(descriptor, "") }

  /// The size, in range.
  var size: Int64 { Int64(min(status.size, UInt64(Limits.Wire.fileSize))) }

  /// The attributes as they travel: no setuid and setgid bits of files, a size in range.
  func attributes(rights: Attributes.Rights) -> Attributes {
    var mode = status.mode & 0o177777
    if type != .directory { mode &= ~0o6000 }
    var attributes = Attributes(
      mode: mode, links: status.links, identity: identity, size: size, blocks: status.blocks,
      accessed: time(status.seconds.0, status.nanoseconds.0), modified: time(status.seconds.1, status.nanoseconds.1),
      changed: time(status.seconds.2, status.nanoseconds.2), rights: rights)
    if type == .regular, let asked { attributes.isRacy = attributes.version.isRacy(at: asked) }
    return attributes
  }

  private static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
  }

  private func time(_ seconds: Int64, _ nanoseconds: UInt32) -> Timestamp {
    Timestamp(seconds: seconds, nanoseconds: min(nanoseconds, 999_999_999))
  }

  /// What a directory looks like that is never entered: empty, without any permission to write.
  static func barred(device: UInt64) -> Attributes {
    let never = Timestamp(seconds: 0, nanoseconds: 0)
    return Attributes(
      mode: FileType.directory.rawValue | 0o555, links: 2,
      identity: FileIdentity(device: device, inode: 1, generation: 0), size: 0, blocks: 0, accessed: never,
      modified: never, changed: never, rights: [.read, .execute])
  }
}

extension Attributes.Version {
  /// Whether a change that is made at `now` or later may leave the times as they are, so that two states of the contents
  /// have one version: git calls such a file racy. The granularity is that of the kernel's clock, or, where no time has a
  /// part of a second, as on ext3, vfat, and ext4 with small inodes, that of these filesystems.
  func isRacy(at now: Timestamp) -> Bool {
    let isCoarse = modified.nanoseconds == 0 && changed.nanoseconds == 0
    let granularity = isCoarse ? Limits.Export.coarseTimes : Limits.Export.fineTimes
    func age(_ time: Timestamp) -> Double {
      Double(now.seconds) - Double(time.seconds) + (Double(now.nanoseconds) - Double(time.nanoseconds)) / 1e9
    }
    // A time of modification in the future was set by a program; one of change means that the clock was set back.
    return age(changed) < granularity || abs(age(modified)) < granularity
  }
}

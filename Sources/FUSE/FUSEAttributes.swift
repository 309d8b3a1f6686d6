import CP2PFSFuse3
import Glibc

/// What stat(2) says of a file.
package struct FUSEAttributes: Sendable {
  /// A point in time, in seconds since 1970 and nanoseconds within the second.
  package struct Time: Sendable {
    package var seconds: Int64
    package var nanoseconds: UInt32

    /// A point in time.
    package init(seconds: Int64, nanoseconds: UInt32) {
      self.seconds = seconds
      self.nanoseconds = nanoseconds
    }

    init(_ time: timespec) {
      self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(truncatingIfNeeded: time.tv_nsec))
    }

    var timespec: timespec { Glibc.timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds)) }
  }

  /// The number that tells files apart: `st_ino`.
  package var inode: UInt64 = 0
  /// Type and permissions.
  package var mode: UInt32 = 0
  package var links: UInt64 = 1
  package var user: UInt32 = 0
  package var group: UInt32 = 0
  /// Bytes.
  package var size: Int64 = 0
  /// Blocks of 512 bytes.
  package var blocks: Int64 = 0
  package var accessed = Time(seconds: 0, nanoseconds: 0)
  package var modified = Time(seconds: 0, nanoseconds: 0)
  package var changed = Time(seconds: 0, nanoseconds: 0)

  /// Attributes of nothing in particular.
  package init() {}

  init(_ status: stat) {
    inode = UInt64(status.st_ino)
    mode = status.st_mode
    links = UInt64(status.st_nlink)
    user = status.st_uid
    group = status.st_gid
    size = Int64(status.st_size)
    blocks = Int64(status.st_blocks)
    accessed = Time(status.st_atim)
    modified = Time(status.st_mtim)
    changed = Time(status.st_ctim)
  }

  var status: stat {
    var status = stat()
    status.st_ino = UInt(inode)
    status.st_mode = mode
    status.st_nlink = UInt(links)
    status.st_uid = user
    status.st_gid = group
    status.st_size = Int(size)
    status.st_blocks = Int(blocks)
    status.st_blksize = 131_072
    status.st_atim = accessed.timespec
    status.st_mtim = modified.timespec
    status.st_ctim = changed.timespec
    return status
  }
}

/// What statvfs(3) says of a filesystem, in its units.
package struct FUSEStatistics: Sendable {
  package var blockSize: UInt64 = 4096
  package var fragmentSize: UInt64 = 4096
  package var blocks: UInt64 = 0
  package var freeBlocks: UInt64 = 0
  package var availableBlocks: UInt64 = 0
  package var files: UInt64 = 0
  package var freeFiles: UInt64 = 0
  package var nameLength: UInt64 = 255

  /// Statistics of an empty filesystem.
  package init() {}

  var status: statvfs {
    var status = statvfs()
    status.f_bsize = UInt(blockSize)
    status.f_frsize = UInt(fragmentSize)
    status.f_blocks = UInt(blocks)
    status.f_bfree = UInt(freeBlocks)
    status.f_bavail = UInt(availableBlocks)
    status.f_files = UInt(files)
    status.f_ffree = UInt(freeFiles)
    status.f_favail = UInt(freeFiles)
    status.f_namemax = UInt(nameLength)
    return status
  }
}

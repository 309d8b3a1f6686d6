import CP2PFSLinux
import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage

/// The filesystems that were written to, to be brought to disk at the end.
struct FilesystemTable {
  private var known: [UInt64: CInt] = [:]

  /// Whether that filesystem is brought to disk at the end.
  func contains(_ device: UInt64) -> Bool { known[device] != nil }

  /// Something was written to the filesystem of an open file or directory. If it cannot be kept until the end, the file
  /// is brought to disk now.
  mutating func note(_ device: UInt64, _ file: borrowing Descriptor) throws(Errno) {
    guard known[device] == nil else { return }
    let copy = known.count < Limits.Transfer.filesystems ? fcntl(file.rawValue, F_DUPFD_CLOEXEC, 0) : -1
    if copy >= 0 {
      known[device] = copy
    } else {
      guard fsync(file.rawValue) == 0 else { throw Errno(rawValue: errno) }
    }
  }

  /// syncfs(2) of each, once; forgets them.
  mutating func synchronize() throws(Errno) {
    defer { close() }
    for file in known.values {
      guard p2pfs_syncfs(file) == 0 else { throw Errno(rawValue: errno) }
    }
  }

  /// Forgets them.
  mutating func close() {
    for file in known.values { _ = Glibc.close(file) }
    known = [:]
  }
}

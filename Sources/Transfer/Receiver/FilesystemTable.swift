import CP2PFSLinux
import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage

/// The filesystems that a transfer has written to, which are synced at the end.
struct FilesystemTable {
  private var known: [UInt64: CInt] = [:]

  /// Whether that filesystem will be synced at the end.
  func contains(_ device: UInt64) -> Bool { known[device] != nil }

  /// Adds the filesystem of an open file or directory that was written to. If the table cannot
  /// hold it, the file is synced now.
  mutating func note(_ device: UInt64, _ file: borrowing Descriptor) throws(Errno) {
    guard known[device] == nil else { return }
    let copy = known.count < Limits.Transfer.filesystems ? fcntl(file.rawValue, F_DUPFD_CLOEXEC, 0) : -1
    if copy >= 0 {
      known[device] = copy
    } else {
      guard fsync(file.rawValue) == 0 else { throw Errno(rawValue: errno) }
    }
  }

  /// Calls syncfs(2) once for each filesystem, and empties the table.
  mutating func synchronize() throws(Errno) {
    defer { close() }
    for file in known.values {
      guard p2pfs_syncfs(file) == 0 else { throw Errno(rawValue: errno) }
    }
  }

  /// Empties the table.
  mutating func close() {
    for file in known.values { _ = Glibc.close(file) }
    known = [:]
  }
}

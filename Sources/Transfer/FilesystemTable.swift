internal import CLinux
internal import Core
internal import Export
internal import Glibc
internal import SystemPackage

/// The filesystems that were written to, to be brought to disk at the end.
struct FilesystemTable {
  private var known: [UInt64: CInt] = [:]

  /// Something was written to the filesystem of an open file.
  mutating func note(_ device: UInt64, _ file: borrowing Descriptor) {
    guard known[device] == nil, known.count < Limits.Transfer.filesystems else { return }
    let copy = fcntl(file.rawValue, F_DUPFD_CLOEXEC, 0)
    if copy >= 0 { known[device] = copy }
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

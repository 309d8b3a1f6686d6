import CP2PFSLinux
import Glibc
import Synchronization
import SystemPackage

/// The umask(2) of the program that a request comes from. The kernel applies it, since only that knows the default ACL
/// of a directory, which takes its place (acl(5)).
enum WorkerUmask {
  /// Whether the workers share one umask, of 0, since each may not have its own (filters of containers).
  static let isShared = Atomic(false)

  /// Calls `body` with the mode to ask for in `directory`, and the thread's umask set; nil leaves both as they are.
  /// Only on a worker, if it is not nil.
  static func with<Result: ~Copyable>(
    _ umask: UInt32?, mode: UInt32, in directory: CInt, _ body: (UInt32) throws(Errno) -> Result
  ) throws(Errno) -> Result {
    guard let umask, umask != 0 else { return try body(mode) }
    if isShared.load(ordering: .relaxed) {
      let hasDefault = p2pfs_has_default_acl(procPathOfDescriptor(directory)) != 0
      return try body(hasDefault ? mode : mode & ~umask)
    }
    _ = Glibc.umask(mode_t(umask))
    defer { _ = Glibc.umask(0) }
    return try body(mode)
  }
}

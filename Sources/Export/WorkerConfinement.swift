import CP2PFSLinux
import Glibc
import Synchronization
import SystemPackage

/// What a worker thread gives up before it serves anybody. All of it concerns the calling thread alone, and none is
/// needed for confinement: `ConfinedDirectory` is the wall, this is the second one. What the kernel does not have is
/// left out silently.
enum WorkerConfinement {
  /// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER: what lets root serve the files of others. Without
  /// CAP_FSETID a write clears setuid and setgid as it does for everybody; without CAP_SYS_RESOURCE a peer cannot
  /// take the blocks that are reserved to root; without CAP_MKNOD nobody makes a device.
  static let capabilities = Capability.override | Capability.search | Capability.owner

  /// Bits of capabilities(7).
  enum Capability {
    static let override: UInt64 = 1 << 1
    static let search: UInt64 = 1 << 2
    static let owner: UInt64 = 1 << 3
    static let setID: UInt64 = 1 << 4
  }

  /// Calls `body` with CAP_FSETID, if this thread may: without it root cannot keep the setgid bit of a directory whose
  /// group is not its own.
  static func keepingSetgid<Result>(_ body: () throws(Errno) -> Result) throws(Errno) -> Result {
    let raised = p2pfs_turn_capabilities(Capability.setID, 1)
    defer { _ = p2pfs_turn_capabilities(raised, 0) }
    return try body()
  }

  /// Rights of Landlock: everything that the interface of version 1 knows, REFER (2) and TRUNCATE (3).
  private static func rights(version: CInt) -> UInt64 {
    (1 << 13) - 1 | 1 << 13 | (version >= 3 ? 1 << 14 : 0)
  }
  private static let execute: UInt64 = 1 << 0
  private static let readFile: UInt64 = 1 << 2
  private static let readDirectory: UInt64 = 1 << 3

  /// Confines the calling thread to what lies beneath `root`, for good.
  ///
  /// Landlock looks at where a file is, not at the path it was opened by, so opening again by /proc/self/fd works.
  static func enter(root: CInt, isReadOnly: Bool) {
    // A request brings the umask of its program. Where this thread cannot have one of its own, the process has none.
    if p2pfs_own_umask() != 0 {
      _ = umask(0)
      WorkerUmask.isShared.store(true, ordering: .relaxed)
    }
    _ = p2pfs_keep_capabilities(capabilities, Capability.setID)
    let version = p2pfs_landlock_version()
    // Version 1 forbids every rename and link between directories.
    guard version >= 2 else { return }
    let rights = rights(version: version)
    let allowed = isReadOnly ? readFile | readDirectory : rights & ~execute
    _ = p2pfs_landlock_restrict(root, rights, allowed)
  }
}

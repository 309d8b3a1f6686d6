import CP2PFSLinux
import Glibc
import SystemPackage
import P2PFSWire

/// What the exporter's user may do with a file, as its kernel would decide (access(2)).
///
/// Mostly the bits of the mode say it: those of the owner to the owner, everything to root, as far as its capabilities
/// go. Where the group, others or an access control list decide, the kernel is asked.
struct Credentials {
  /// The effective user, and what the workers keep of its capabilities.
  let user: UInt32
  let capabilities: UInt64

  /// Those of the calling thread. It must not be a worker before it has given up anything.
  init() {
    user = geteuid()
    capabilities = p2pfs_capabilities() & WorkerConfinement.capabilities
  }

  /// Those of this process, which does not change them.
  static let ofProcess = Credentials()

  /// A user or group that this user namespace does not know: capabilities do not concern its files
  /// (/proc/sys/kernel/overflowuid).
  private static let unknown: UInt32 = 65_534

  /// The rights to what has `status`: `name` in the open directory, or that itself if the name is empty.
  func rights(of status: FileStatus, _ directory: CInt, _ name: UnsafePointer<CChar>) -> Attributes.Rights {
    var rights: Attributes.Rights = []
    let isKnown = status.owner != Credentials.unknown && status.group != Credentials.unknown
    let isOwner = status.owner == user
    if isOwner || isKnown && has(WorkerConfinement.Capability.owner) { rights.insert(.owner) }
    // The mode of a symbolic link means nothing.
    guard status.type != .symbolicLink else { return rights.union([.read, .write, .execute]) }
    if isKnown, has(WorkerConfinement.Capability.override) {
      rights.formUnion([.read, .write])
      if status.type == .directory || status.mode & 0o111 != 0 { rights.insert(.execute) }
    } else if isOwner, !isPrivileged {
      rights.formUnion(.init(rawValue: UInt8(status.mode >> 6 & 7)))
    } else {
      return rights.union(asked(status, directory, name))
    }
    // Whatever the mode says: an attribute (chattr(1) +i), or a filesystem that is mounted read-only.
    if rights.contains(.write), status.isImmutable || !may(directory, name, W_OK) { rights.remove(.write) }
    return rights
  }

  private func has(_ capability: UInt64) -> Bool { capabilities & capability != 0 }

  /// Whether the bits of a mode may not be the whole truth.
  private var isPrivileged: Bool {
    has(WorkerConfinement.Capability.override | WorkerConfinement.Capability.search)
  }

  /// The bits of the group are the mask of an access control list, too: the kernel may grant what they or those of the
  /// others have, and no more, unless a capability says otherwise.
  private func asked(
    _ status: FileStatus, _ directory: CInt, _ name: UnsafePointer<CChar>
  ) -> Attributes.Rights {
    let possible = isPrivileged ? 7 : UInt8((status.mode >> 3 | status.mode) & 7)
    guard possible != 0 else { return [] }
    if may(directory, name, CInt(possible)) { return .init(rawValue: possible) }
    let granted = [1, 2, 4].filter { possible & $0 != 0 && may(directory, name, CInt($0)) }
    return .init(rawValue: granted.reduce(0, |))
  }

  /// R_OK, W_OK and X_OK are the bits of a mode. Where the kernel cannot say (before Linux 5.8), the operation will.
  private func may(_ directory: CInt, _ name: UnsafePointer<CChar>, _ access: CInt) -> Bool {
    guard p2pfs_may(directory, name, access) != 0 else { return true }
    return ![EACCES, EPERM, EROFS, ETXTBSY].contains(errno)
  }
}

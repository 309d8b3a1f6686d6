import CP2PFSLinux
import Glibc
import P2PFSCore
import Synchronization
import SystemPackage

/// The devices that are mounts of p2pfs, so that the exporter never asks one of them anything: it could be served by
/// the very peer that waits for our answer.
///
/// poll(2) on /proc/self/mountinfo says when mounts have changed, so it is read again only then
/// (proc_pid_mountinfo(5)), or when a device is met that it did not name.
final class MountedDevices: Sendable {
  private struct State: ~Copyable {
    let descriptor: Descriptor
    /// Every device that was seen; true for those of p2pfs.
    var devices: [UInt64: Bool] = [:]
    var isRead = false
  }

  /// The lock is held across reads of procfs, which wait for no disk and no peer.
  private let state: Mutex<State>

  /// Opens the table of this process' mount namespace.
  init() throws(Errno) {
    state = Mutex(
      State(descriptor: try Descriptor(p2pfs_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0))))
  }

  /// Whether `device` (as st_dev) is a p2pfs mount.
  func isOurs(_ device: UInt64) throws(Errno) -> Bool {
    try state.withLock { (state) throws(Errno) in
      var poll = pollfd(fd: state.descriptor.rawValue, events: Int16(POLLPRI), revents: 0)
      let changed = Glibc.poll(&poll, 1, 0) > 0
      if changed || !state.isRead || state.devices[device] == nil {
        state.devices = MountedDevices.devices(in: try MountInfo(descriptor: state.descriptor.rawValue))
        state.isRead = true
      }
      if let known = state.devices[device] { return known }
      // A subvolume or a layer of an overlay, which is no mount: remembered until mounts change.
      state.devices[device] = false
      return false
    }
  }

  /// The devices of a table; true for those of p2pfs.
  static func devices(in table: MountInfo) -> [UInt64: Bool] {
    Dictionary(table.entries.map { ($0.device, $0.isP2PFS) }) { $0 || $1 }
  }
}

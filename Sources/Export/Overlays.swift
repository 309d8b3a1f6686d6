import CP2PFSLinux
import Glibc
import P2PFSCore
import Synchronization

/// The devices that are overlays, as the root of a container. There a file or a directory has another time of birth as soon
/// as it is changed first, that of its copy in the upper layer, and the number that it had; so the time tells nothing.
enum Overlays {
  private struct State {
    /// The table of mounts, open as long as the process runs: poll(2) says when it has changed (proc_pid_mountinfo(5)).
    /// A device's number may then be another filesystem's.
    let table = p2pfs_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0)
    var devices: Set<UInt64>?
  }

  /// The lock is held across reads of procfs, which wait for no disk and no peer.
  private static let state = Mutex(State())

  /// Opens the table of mounts, before threads that are confined need it.
  static func prepare() { state.withLock { _ in } }

  /// Whether `device` (as st_dev) is one.
  static func contain(_ device: UInt64) -> Bool {
    // Filesystems on a disk have a major number.
    guard device >> 8 & 0xfff == 0 else { return false }
    return state.withLock { state in
      var poll = pollfd(fd: state.table, events: Int16(POLLPRI), revents: 0)
      let hasChanged = Glibc.poll(&poll, 1, 0) > 0
      if let known = state.devices, !hasChanged { return known.contains(device) }
      let entries = (try? MountInfo(descriptor: state.table))?.entries ?? []
      let devices = Set(entries.filter { $0.type == "overlay" }.map(\.device))
      state.devices = devices
      return devices.contains(device)
    }
  }
}

import CP2PFSLinux
import P2PFSCore
import Glibc
import SystemPackage
import Synchronization

/// Which devices are mounts of p2pfs, so that the exporter never asks one of them anything: it could be served
/// by the very peer that waits for our answer.
///
/// /proc/self/mountinfo tells without a request to any filesystem. poll(2) on it says when mounts have
/// changed, so it is read again only then (proc_pid_mountinfo(5)), or when a device is met that it did not name.
final class MountTable: Sendable {
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
        state.devices = MountTable.devices(in: try MountTable.contents(of: state.descriptor))
        state.isRead = true
      }
      if let known = state.devices[device] { return known }
      // A subvolume or a layer of an overlay, which is no mount: remembered until mounts change.
      state.devices[device] = false
      return false
    }
  }

  private static func contents(of descriptor: borrowing Descriptor) throws(Errno) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    var offset: off_t = 0
    while bytes.count < Limits.Export.mountinfo {
      let count = pread(descriptor.rawValue, &chunk, chunk.count, offset)
      guard count >= 0 else {
        if errno == EINTR { continue }
        throw Errno(rawValue: errno)
      }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
      offset += off_t(count)
    }
    throw .outOfRange
  }

  /// Reads the devices out of the lines of mountinfo:
  /// `36 35 98:0 /root /mount/point options [optional…] - type source options`.
  static func devices(in mountinfo: [UInt8]) -> [UInt64: Bool] {
    var devices: [UInt64: Bool] = [:]
    for line in mountinfo.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: " "))
      guard fields.count >= 3, let device = device(fields[2]) else { continue }
      let type = fields.firstIndex { $0.elementsEqual("-".utf8) }.map { $0 + 1 } ?? fields.endIndex
      var isOurs = false
      if type < fields.endIndex {
        isOurs = fields[type].elementsEqual("fuse.p2pfs".utf8)
        if fields[type].starts(with: "fuse".utf8), type + 1 < fields.endIndex {
          isOurs = isOurs || fields[type + 1].starts(with: "p2pfs".utf8)
        }
      }
      devices[device] = isOurs || devices[device] == true
    }
    return devices
  }

  /// Where filesystems are mounted in this process' namespace, and their devices (proc_pid_mountinfo(5)).
  static func places() -> [(device: UInt64, path: String)] {
    guard
      let table = try? Descriptor(p2pfs_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0)),
      let text = try? contents(of: table)
    else { return [] }
    return text.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let fields = line.split(separator: UInt8(ascii: " "))
      guard fields.count > 4, let device = device(fields[2]) else { return nil }
      return (device, String(pathBytes: unescaped(fields[4])))
    }
  }

  /// Undoes the octal escapes of blanks and the like.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let escaped = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(escaped)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }

  private static func device(_ field: ArraySlice<UInt8>) -> UInt64? {
    let numbers = field.split(separator: UInt8(ascii: ":")).map { UInt64(String(decoding: $0, as: UTF8.self)) }
    guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
    return (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | (minor & 0xff)
  }
}

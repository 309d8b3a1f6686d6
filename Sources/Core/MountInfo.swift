import Glibc
package import SystemPackage

/// The mounts of this process' namespace, as /proc/self/mountinfo lists them (proc_pid_mountinfo(5)). Reading it asks
/// no mounted filesystem anything.
package struct MountInfo: Sendable {
  /// One mounted filesystem.
  package struct Entry: Sendable, Equatable {
    /// `st_dev` of the files in it.
    package var device: UInt64
    /// The directory that it is mounted on.
    package var mountpoint: String
    /// Type, as `fuse.p2pfs`; empty if the line names none.
    package var type: String
    /// The device or name that was mounted.
    package var source: String

    /// The number that FUSE gives its connection under /sys/fs/fuse/connections: minor(3) of the device.
    package var minor: UInt64 { device >> 12 & 0xffff_ff00 | device & 0xff }

    /// Whether p2pfs serves it, whichever name the mount was given.
    package var isP2PFS: Bool { type == "fuse.p2pfs" || type.hasPrefix("fuse") && source.hasPrefix("p2pfs") }
  }

  /// The mounts in the order in which they were made: of several at one place, the last is the visible one.
  package let entries: [Entry]

  /// The table of the calling process; empty if /proc is not there.
  package init() {
    let descriptor = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)
    defer { if descriptor >= 0 { close(descriptor) } }
    self = (try? MountInfo(descriptor: descriptor)) ?? MountInfo([])
  }

  /// Reads the table anew from a descriptor of it, from its beginning.
  /// - Throws: what pread(2) fails with; `.outOfRange` above `Limits.Export.mountinfo` bytes.
  package init(descriptor: CInt) throws(Errno) {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < Limits.Export.mountinfo {
      let count = pread(descriptor, &chunk, chunk.count, off_t(bytes.count))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw Errno(rawValue: errno) }
      if count == 0 {
        self.init(bytes)
        return
      }
      bytes += chunk[..<count]
    }
    throw .outOfRange
  }

  /// Parses lines of `36 35 98:0 /root /mount/point options [optional…] - type source options`; others are left out.
  package init(_ text: [UInt8]) {
    entries = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let fields = line.split(separator: UInt8(ascii: " "))
      guard fields.count > 4, let device = MountInfo.device(fields[2]) else { return nil }
      let more = fields.firstIndex { $0.elementsEqual("-".utf8) }.map { fields[$0...].dropFirst() } ?? []
      return Entry(
        device: device, mountpoint: MountInfo.unescaped(fields[4]),
        type: more.first.map { MountInfo.unescaped($0) } ?? "",
        source: more.dropFirst().first.map { MountInfo.unescaped($0) } ?? "")
    }
  }

  /// The visible mount at `mountpoint`, an absolute path without symbolic links.
  package func visible(at mountpoint: String) -> Entry? {
    entries.last { $0.mountpoint.utf8.elementsEqual(mountpoint.utf8) }
  }

  /// Undoes `\040` and the like.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> String {
    var result: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3).map { Int($0) - 0x30 }
      if byte == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (0...7).contains($0) }) {
        result.append(UInt8(truncatingIfNeeded: digits[0] * 64 + digits[1] * 8 + digits[2]))
        rest = rest.dropFirst(3)
      } else {
        result.append(byte)
      }
    }
    return String(pathBytes: result)
  }

  private static func device(_ field: ArraySlice<UInt8>) -> UInt64? {
    let numbers = field.split(separator: UInt8(ascii: ":")).map { UInt64(String(decoding: $0, as: UTF8.self)) }
    guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
    // As makedev(3).
    return (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | (minor & 0xff)
  }
}

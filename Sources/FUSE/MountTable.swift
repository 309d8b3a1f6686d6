import P2PFSCore
import Glibc

/// What is mounted, as /proc/self/mountinfo has it (proc_pid_mountinfo(5)).
package struct MountTable: Sendable {
  /// One mounted filesystem.
  package struct Entry: Sendable, Equatable {
    /// `st_dev` of the files in it.
    package var major: UInt32
    package var minor: UInt32
    /// Where it is, without the escapes of the table.
    package var mountpoint: String
    /// Type, as `fuse.p2pfs`.
    package var type: String
    /// What was mounted.
    package var source: String
  }

  /// The mounts, in the order in which they were made: of several at one place, the last is the visible one.
  package let entries: [Entry]

  /// The table of the calling process; empty if /proc is not there.
  package init() {
    var text: [UInt8] = []
    if let file = fopen("/proc/self/mountinfo", "re") {
      defer { fclose(file) }
      var block = [UInt8](repeating: 0, count: 65_536)
      while case let count = fread(&block, 1, block.count, file), count > 0 { text += block[..<count] }
    }
    self.init(text)
  }

  init(_ text: [UInt8]) {
    entries = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let fields = line.split(separator: UInt8(ascii: " "))
      guard let dash = fields.firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }), dash >= 6,
        fields.count >= dash + 3
      else { return nil }
      let numbers = fields[2].split(separator: UInt8(ascii: ":")).map { UInt32(String(decoding: $0, as: UTF8.self)) }
      guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
      return Entry(
        major: major, minor: minor, mountpoint: MountTable.unescape(fields[4]),
        type: MountTable.unescape(fields[dash + 1]), source: MountTable.unescape(fields[dash + 2]))
    }
  }

  /// The visible mount at `mountpoint`, an absolute path without links.
  package func visible(at mountpoint: String) -> Entry? {
    entries.last { $0.mountpoint.utf8.elementsEqual(mountpoint.utf8) }
  }

  /// Undoes `\040` and the like.
  private static func unescape(_ field: ArraySlice<UInt8>) -> String {
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
}

package import P2PFSCore

/// A point in time as stat(2) has it.
package struct Timestamp: Sendable, Hashable {
  /// Seconds since 1970, negative before.
  package var seconds: Int64
  /// Nanoseconds within the second, below 1,000,000,000.
  package var nanoseconds: UInt32

  /// A point in time.
  package init(seconds: Int64, nanoseconds: UInt32) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  init(_ reader: inout Reader) throws(MalformedMessage) {
    seconds = try reader.integer()
    nanoseconds = try reader.integer()
    guard nanoseconds < 1_000_000_000 else { throw MalformedMessage("nanoseconds out of range") }
  }

  func write(to frame: Frame) {
    frame.write(seconds)
    frame.write(nanoseconds)
  }
}

/// What stat(2) says of a file, as far as it means something on another computer.
///
/// Owner and group are left out: everything belongs to whoever mounted it.
package struct Attributes: Sendable, Hashable {
  /// What tells one state of a file's contents from another: if all agree, the contents are unchanged.
  package struct Version: Sendable, Hashable {
    package var size: Int64
    package var modified: Timestamp
    package var changed: Timestamp

    /// Length on the wire in bytes.
    package static let length = 8 + 12 * 2

    /// A state of the given values.
    package init(size: Int64, modified: Timestamp, changed: Timestamp) {
      self.size = size
      self.modified = modified
      self.changed = changed
    }

    init(_ reader: inout Reader) throws(MalformedMessage) {
      size = try reader.integer()
      modified = try Timestamp(&reader)
      changed = try Timestamp(&reader)
      guard (0...Limits.Wire.fileSize).contains(size) else { throw MalformedMessage("size out of range") }
    }

    /// Appends the fields.
    package func write(to frame: Frame) {
      frame.write(size)
      modified.write(to: frame)
      changed.write(to: frame)
    }
  }

  /// What the user that exports may do with a file (access(2)).
  package struct Rights: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let execute = Rights(rawValue: 1)
    package static let write = Rights(rawValue: 2)
    package static let read = Rights(rawValue: 4)
    /// He owns it, or may do everything: the bits of the owner in `mode` are his.
    package static let owner = Rights(rawValue: 8)
  }

  /// Type and permissions; one of the types of stat(2), and no setuid, setgid bits of files.
  package var mode: UInt32
  /// Hard links.
  package var links: UInt32
  /// Which file it is at the exporter.
  package var identity: FileIdentity
  /// Bytes, from 0 to `Limits.Wire.fileSize`.
  package var size: Int64
  /// Blocks of 512 bytes that the file takes on disk.
  package var blocks: UInt64
  package var accessed: Timestamp
  package var modified: Timestamp
  package var changed: Timestamp
  /// What the exporter's user may do with it.
  package var rights: Rights
  /// Whether it was changed so shortly before it was asked for that another change may leave the version as it is: the
  /// times of a filesystem have a granularity.
  package var isRacy: Bool

  /// Length on the wire in bytes.
  package static let length = 4 + 4 + FileIdentity.length + 8 * 2 + 12 * 3 + 2

  /// Attributes of the given values.
  package init(
    mode: UInt32, links: UInt32, identity: FileIdentity, size: Int64, blocks: UInt64,
    accessed: Timestamp, modified: Timestamp, changed: Timestamp, rights: Rights, isRacy: Bool = false
  ) {
    self.mode = mode
    self.links = links
    self.identity = identity
    self.rights = rights
    self.size = size
    self.blocks = blocks
    self.accessed = accessed
    self.modified = modified
    self.changed = changed
    self.isRacy = isRacy
  }

  /// Reads and validates attributes: a known type, a size in range.
  package init(_ reader: inout Reader) throws(MalformedMessage) {
    mode = try reader.integer()
    links = try reader.integer()
    identity = try FileIdentity(&reader)
    size = try reader.integer()
    blocks = try reader.integer()
    accessed = try Timestamp(&reader)
    modified = try Timestamp(&reader)
    changed = try Timestamp(&reader)
    rights = Rights(rawValue: try reader.integer())
    isRacy = try reader.integer(UInt8.self) != 0
    guard FileType(mode: mode) != nil, mode & ~0o177777 == 0 else {
      throw MalformedMessage("mode without a known type")
    }
    guard (0...Limits.Wire.fileSize).contains(size) else { throw MalformedMessage("size out of range") }
  }

  /// Appends the attributes.
  package func write(to frame: Frame) {
    frame.write(mode)
    frame.write(links)
    identity.write(to: frame)
    frame.write(size)
    frame.write(blocks)
    accessed.write(to: frame)
    modified.write(to: frame)
    changed.write(to: frame)
    frame.write(rights.rawValue)
    frame.write(isRacy ? 1 : 0 as UInt8)
  }

  /// The type of the file.
  package var type: FileType { FileType(mode: mode) ?? .regular }
  /// The state of the contents.
  package var version: Version {
    Version(size: size, modified: modified, changed: changed)
  }
}

/// The types of files of stat(2), as their bits in `st_mode`.
package enum FileType: UInt32, Sendable {
  case fifo = 0o010000
  case characterDevice = 0o020000
  case directory = 0o040000
  case blockDevice = 0o060000
  case regular = 0o100000
  case symbolicLink = 0o120000
  case socket = 0o140000

  /// The type in a mode of stat(2); nil if there is none such.
  package init?(mode: UInt32) {
    self.init(rawValue: mode & 0o170000)
  }
}

/// What statvfs(3) says, in the units it says it.
package struct FilesystemStatistics: Sendable, Equatable {
  package var blockSize: UInt64
  package var fragmentSize: UInt64
  package var blocks: UInt64
  package var freeBlocks: UInt64
  package var availableBlocks: UInt64
  package var files: UInt64
  package var freeFiles: UInt64
  package var nameLength: UInt64

  /// Statistics of the given values.
  package init(
    blockSize: UInt64, fragmentSize: UInt64, blocks: UInt64, freeBlocks: UInt64, availableBlocks: UInt64,
    files: UInt64, freeFiles: UInt64, nameLength: UInt64
  ) {
    self.blockSize = blockSize
    self.fragmentSize = fragmentSize
    self.blocks = blocks
    self.freeBlocks = freeBlocks
    self.availableBlocks = availableBlocks
    self.files = files
    self.freeFiles = freeFiles
    self.nameLength = nameLength
  }

  /// Reads statistics.
  package init(_ reader: inout Reader) throws(MalformedMessage) {
    blockSize = try reader.integer()
    fragmentSize = try reader.integer()
    blocks = try reader.integer()
    freeBlocks = try reader.integer()
    availableBlocks = try reader.integer()
    files = try reader.integer()
    freeFiles = try reader.integer()
    nameLength = try reader.integer()
  }

  /// Appends the statistics.
  package func write(to frame: Frame) {
    for value in [blockSize, fragmentSize, blocks, freeBlocks, availableBlocks, files, freeFiles, nameLength] {
      frame.write(value)
    }
  }
}

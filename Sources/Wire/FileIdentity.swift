import P2PFSCore

/// Which file of the exporter something is: names that share it are links to one file.
package struct FileIdentity: Sendable, Hashable {
  /// st_dev and st_ino at the exporter.
  package var device: UInt64
  package var inode: UInt64
  /// Tells files apart that had the same inode one after the other: the time of birth in nanoseconds where the
  /// filesystem has one that stays (statx(2), stx_btime), else 0.
  package var generation: UInt64

  /// Length on the wire in bytes.
  package static let length = 8 * 3

  /// An identity of the given values.
  package init(device: UInt64, inode: UInt64, generation: UInt64) {
    self.device = device
    self.inode = inode
    self.generation = generation
  }

  init(_ reader: inout Reader) throws(MalformedMessage) {
    device = try reader.integer()
    inode = try reader.integer()
    generation = try reader.integer()
  }

  func write(to frame: Frame) {
    frame.write(device)
    frame.write(inode)
    frame.write(generation)
  }
}

import Core
import Wire

/// What tells files apart at the peer. It identifies nothing here: it only tells that something has changed, and
/// which names may be links to one file.
struct RemoteFile: Hashable, Sendable {
  let device: UInt64
  let inode: UInt64
  let type: FileType

  init(_ attributes: Attributes) {
    device = attributes.identity.device
    inode = attributes.identity.inode
    type = attributes.type
  }
}

/// What the kernel knows by a node ID: one name in one directory, or a file that lost its name while in use.
final class Node: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  /// The kernel's name for it; never used twice.
  let id: UInt64
  /// What stat(2) shows as `st_ino`.
  let inode: UInt64
  /// Which file of the peer it is.
  let remote: RemoteFile
  /// The directory it is in; nil for the root, and for what was unlinked.
  var parent: Node?
  var name: [UInt8]
  var children: [[UInt8]: Node] = [:]
  /// How often the kernel was told of it, less what it has forgotten.
  var lookups: UInt64 = 0

  /// What the peer last said, and when it was asked.
  var attributes: Attributes
  var asked: Instant
  /// When one of our own changes to it began or ended, and how many are under way. What was asked before, or
  /// meanwhile, is not believed for long.
  var changed = Instant(nanoseconds: 0)
  var changing = 0

  /// Directories: the complete listing.
  var listing: DirectoryListing?
  /// The listing on its way.
  var fetch: ListingFetch?
  /// The thread that opened the directory last: if it opens one inside next, it walks through the tree.
  var walker: Int32 = 0
  /// When the listing was asked for whose directories were noted as what a walk wants next.
  var expectedFrom: Instant?

  /// Open handles.
  var files: [OpenFile] = []
  /// The state of the file whose contents the kernel's page cache holds; nil if unknown.
  var cachedVersion: Attributes.Version?
  /// Bytes that the kernel has read since it began to cache that state.
  var readSinceCached: Int64 = 0
  /// Whether the peer has acknowledged bytes that no fsync has covered: lost if its machine is started again.
  var isUnsynced = false
  var writes = WriteQueue<WritePart, @Sendable () -> Void>()

  init(id: UInt64, inode: UInt64, parent: Node?, name: [UInt8], attributes: Attributes, asked: Instant) {
    self.id = id
    self.inode = inode
    self.parent = parent
    self.name = name
    self.attributes = attributes
    self.asked = asked
    remote = RemoteFile(attributes)
  }

  var isRoot: Bool { id == NodeTree.rootID }
  var isDirectory: Bool { remote.type == .directory }
  /// It has no name any more.
  var isUnlinked: Bool { parent == nil && !isRoot }

  /// How many seconds from now on the attributes may be believed; 0 if not.
  func validity(at now: Instant, timeout: Double) -> Double {
    guard changing == 0, writes.isIdle, changed < asked else { return 0 }
    return max(0, timeout - now.seconds(since: asked))
  }

  /// A change of ours begins.
  func beginChange(at now: Instant) {
    changing += 1
    changed = now
  }

  /// A change of ours has ended.
  func endChange(at now: Instant) {
    changing -= 1
    changed = now
  }

  /// Takes what the peer says, unless something newer is known.
  func update(_ attributes: Attributes, asked: Instant) {
    guard asked >= self.asked else { return }
    self.attributes = attributes
    self.asked = asked
  }
}

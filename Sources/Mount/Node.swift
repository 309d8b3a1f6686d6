import P2PFSCore
import P2PFSWire

/// A file of the peer that the kernel knows by a node ID, whatever names it has: all that is known of it is known once.
final class Node: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  /// One name of the file.
  struct Name {
    let parent: Node
    let bytes: [UInt8]
    /// Until when the kernel believes the name without asking. A lookup before that wants to know for sure
    /// (LOOKUP_EXCL, LOOKUP_REVAL and LOOKUP_RENAME_TARGET of Linux).
    var toldUntil: Instant
  }

  /// The kernel's name for it; never used twice.
  let id: UInt64
  /// The number that stat(2) shows as `st_ino`.
  let inode: UInt64
  /// Which file of the peer it is.
  private(set) var remote: RemoteFile
  /// Its names, the one that was seen last at the end; none for the root, and for a file that was unlinked.
  var names: [Name] = []
  var children: [[UInt8]: Node] = [:]
  /// Of a directory without a name: another one has turned up in its place. So it may well be somewhere else, and what is
  /// in it.
  var isDisplaced = false
  /// How often the kernel was told of it, less what it has forgotten.
  var lookups: UInt64 = 0

  /// What the peer last said, and when it was asked.
  private(set) var attributes: Attributes
  private(set) var asked: Instant
  /// When one of our own changes to it began or ended, and how many are under way. What was asked before, or
  /// meanwhile, is not believed for long.
  private(set) var changed = Instant(nanoseconds: 0)
  private(set) var changing = 0
  /// The size that the kernel was told last, and until when it believes that.
  var toldSize: (size: Int64, until: Instant) = (0, Instant(nanoseconds: 0))

  /// Directories: the complete listing.
  var listing: CachedListing?
  /// The listing on its way.
  var fetch: ListingFetch?
  /// The thread that opened the directory last: if it opens one inside next, it walks through the tree.
  var walker: Int32 = 0
  /// When the listing was asked for whose directories were noted as what a walk wants next.
  var expectedFrom: Instant?

  /// Open handles.
  var files: [OpenFile] = []
  /// The newest state of the contents that is known, and when it was asked for; nil while changes of ours make it
  /// another one. What was read ahead of any other state is of no use.
  private(set) var contents: Attributes.Version?
  private var contentsAsked = Instant(nanoseconds: 0)
  /// The state of the contents that the kernel's page cache holds; nil if unknown.
  var cachedVersion: Attributes.Version?
  /// Whether the kernel may have pages of it.
  var hasPages = false
  /// Bytes that the kernel has read since it began to cache that state.
  var readSinceCached: Int64 = 0
  var writes = WriteQueue<WritePart, @Sendable () -> Void>()
  /// A modification time that a program has set, and until when pages that were changed through a mapping before that
  /// may still come, which must not change it.
  var settled: (time: Timestamp, until: Instant)?
  /// The last piece of the writes that the peer has acknowledged, and the last that an fsync has covered: what lies
  /// between them is lost if the peer's machine is started again.
  var acknowledged: UInt64 = 0
  private(set) var synced: UInt64 = 0

  init(id: UInt64, inode: UInt64, attributes: Attributes, asked: Instant) {
    self.id = id
    self.inode = inode
    self.attributes = attributes
    self.asked = asked
    remote = RemoteFile(attributes)
    contents = attributes.version
    contentsAsked = asked
  }

  var isRoot: Bool { id == NodeTree.rootID }
  var isDirectory: Bool { remote.type == .directory }
  /// It has no name any more.
  var isUnlinked: Bool { names.isEmpty && !isRoot }
  /// The directory that holds the name seen last; nil for the root and what was unlinked.
  var parent: Node? { names.last?.parent }

  /// How many seconds from now on the attributes may be believed; 0 if not.
  func validity(at now: Instant, timeout: Double) -> Double {
    guard isKnown else { return 0 }
    return max(0, timeout - now.seconds(since: asked))
  }

  /// Whether what was asked at `asked` cannot have missed a change of ours.
  func isQuiet(since asked: Instant) -> Bool { changing == 0 && writes.isIdle && changed < asked }

  /// Whether its attributes are those that the peer has now, as far as we can know.
  var isKnown: Bool { isQuiet(since: asked) }

  /// A change of ours begins.
  func beginChange(at now: Instant) {
    changing += 1
    touch(at: now)
  }

  /// A change of ours has ended.
  func endChange(at now: Instant) {
    changing -= 1
    touch(at: now)
  }

  /// It is not what it was: what was asked until now is not believed any more.
  func touch(at now: Instant) {
    changed = now
    contents = nil
  }

  /// Takes the peer's word, unless something newer is known.
  /// - Returns: whether the contents turn out to be others than those known until now.
  func update(_ attributes: Attributes, asked: Instant) -> Bool {
    guard asked >= self.asked else { return false }
    self.attributes = attributes
    self.asked = asked
    return noteContents(attributes.version, asked: asked) == .news
  }

  /// Of the root: it is another directory from now on.
  func become(_ attributes: Attributes, asked: Instant) {
    remote = RemoteFile(attributes)
    (self.attributes, self.asked) = (attributes, asked)
  }

  /// How a state of the contents stands to what is known.
  enum ContentsNews {
    /// It is the same, or nothing else was known.
    case same
    /// It is newer.
    case news
    /// It is older, or of the time of a change of ours.
    case outdated
  }

  /// Takes note of a state of the contents, which was asked for at `asked`.
  func noteContents(_ version: Attributes.Version, asked: Instant) -> ContentsNews {
    guard isQuiet(since: asked) else { return .outdated }
    guard let known = contents else {
      (contents, contentsAsked) = (version, asked)
      return .same
    }
    if known == version {
      contentsAsked = max(contentsAsked, asked)
      return .same
    }
    // By the time of asking, not by the peer's clock, which may be set back.
    guard asked > contentsAsked else { return .outdated }
    (contents, contentsAsked) = (version, asked)
    return .news
  }

  /// Whether the peer has acknowledged writes that no fsync has covered.
  var isUnsynced: Bool { acknowledged > synced }

  /// An fsync leaves, behind all writes so far.
  /// - Returns: the number for `endSync`.
  func beginSync() -> UInt64 { writes.lastNumber }

  /// An fsync was done.
  func endSync(_ number: UInt64) { synced = max(synced, number) }

  /// The attributes are not the peer's any more, since its contents are not.
  func distrust() { asked = Instant(nanoseconds: 0) }

  /// Nothing that was read ahead serves any more.
  /// - Returns: the requests to abandon.
  func invalidateStreams() -> [UInt64] {
    var dropped: [UInt64] = []
    for file in files {
      for segment in file.stream.invalidate() {
        if let request = file.requests.removeValue(forKey: segment) { dropped.append(request) }
      }
    }
    return dropped
  }

  /// Notes in the listings of all directories where it has a name what is known of it.
  func noteInListings(_ attributes: Attributes?, asked: Instant) {
    for name in names { name.parent.listing?.set(ifThere: name.bytes, attributes, asked: asked) }
  }
}

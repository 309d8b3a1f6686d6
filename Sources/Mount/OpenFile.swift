import P2PFSCore
import P2PFSFUSE
import SystemPackage
import P2PFSWire

/// A file that some process has open: an open file description (open(2)).
final class OpenFile: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let handle: Handle
  let node: Node
  let options: OpenOptions
  var stream = ReadStream<PendingRequest>()
  /// Requests behind the segments of the stream, to be abandoned with them.
  var requests: [UInt64: UInt64] = [:]
  /// The fate of writes that programs were told to be done.
  var failure = WriteFailure()
  /// The last piece of the writes of which an fsync has told a program that they failed: closing does not tell it again.
  var told: UInt64?
  /// Whether something was written since the last flush.
  var isWritten = false
  /// Whether a program has read from it.
  var isRead = false
  /// Whether the peer's first answer to the opening has come.
  var isAnswered = false
  /// The beginning of an append of which the kernel has more.
  var append: AppendGroup?
  /// Why the peer does not know it any more: it was started again, and the file could not be opened again.
  var lost: Errno?

  init(handle: Handle, node: Node, options: OpenOptions) {
    self.handle = handle
    self.node = node
    self.options = options
  }
}

/// Bytes of memory that the streams of all open files hold.
final class ReadAheadTotal: @unchecked Sendable {
  /// Under the lock of the filesystem.
  var bytes = 0
}

/// The beginning of an append that the kernel has cut into several requests: it leaves when all of it is here.
struct AppendGroup {
  /// The thread that makes it.
  let process: Int32
  /// Where the next request of the kernel begins, as it counts.
  var next: Int64
  var bytes = 0
  /// The messages, each of which says that more follows.
  var frames: [Frame] = []
}

/// What writing behind the program's back ended with, and who has been told: as errseq_t of Linux has it, an fsync
/// tells once, and so does a write; each flush tells until an fsync has.
struct WriteFailure {
  private var error: Errno?
  private var isUntoldByWrite = false
  private var isUntoldByFsync = false
  /// Whether nobody was told.
  private(set) var isSecret = false

  /// A write that a program was told to be done has failed.
  /// - Returns: whether it is the first since the last fsync.
  mutating func note(_ error: Errno) -> Bool {
    defer { isUntoldByFsync = true }
    self.error = self.error ?? error
    isUntoldByWrite = true
    if !isUntoldByFsync { isSecret = true }
    return !isUntoldByFsync
  }

  /// The error to end a write with.
  mutating func takeForWrite() -> Errno? {
    guard isUntoldByWrite else { return nil }
    isUntoldByWrite = false
    isSecret = false
    return error
  }

  /// The error to end an fsync with.
  mutating func takeForFsync() -> Errno? {
    defer { self = WriteFailure() }
    return isUntoldByFsync ? error : nil
  }

  /// The error to end a flush with: close(2) of one descriptor of several.
  mutating func tellForFlush() -> Errno? {
    guard isUntoldByFsync else { return nil }
    isSecret = false
    return error
  }
}

/// A directory that some process has open, with the listing it reads.
final class OpenDirectory: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let node: Node
  var listing: CachedListing?
  /// Whether the listing was read from: starting over then wants a new one.
  var isUsed = false

  init(_ node: Node) { self.node = node }
}

/// A file that was opened at the peer before the kernel asks for it: the name turned out to stand for another file, or
/// the file to have another size than the kernel believes. The kernel is answered ESTALE, looks the name up again, and
/// opens what was opened here.
struct PinKey: Hashable {
  let node: UInt64
  /// The thread whose open it was: others have their own.
  let process: Int32
}

/// A file that is kept open for the kernel's next try.
struct PinnedFile {
  let file: OpenFile
  let attributes: Attributes
  let asked: Instant
  let until: Instant
}

/// A thread whose open was answered ESTALE, and looks the name up again.
struct OpenRetry {
  /// The name; nil if it was lost meanwhile, so that it may be any but a directory's.
  let place: (parent: UInt64, name: [UInt8])?
  let options: OpenOptions
  let until: Instant

  /// Whether a lookup of `name`, known as `node` if at all, is that of the open.
  func expects(_ name: [UInt8], in parent: UInt64, _ node: Node?) -> Bool {
    guard let place else { return node.map { !$0.isDirectory } ?? true }
    return place.parent == parent && place.name == name
  }
}

/// One write(2), cut into pieces.
final class WriteOperation: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let file: OpenFile
  let count: Int
  /// Where the kernel believes the bytes to go.
  let offset: Int64
  let isAppend: Bool
  /// It is done only when the peer's disk has it (O_SYNC, O_DSYNC): answered by an fsync behind it. Of files that are
  /// written through the page cache the kernel asks for that by itself.
  let isSynchronous: Bool
  /// Bytes of the same append that came in earlier requests of the kernel, which were answered.
  let before: Int
  /// The kernel's request, until it is answered.
  var pending: PendingRequest?
  /// Pieces not yet sent, and not yet answered.
  var unsent = 0
  var unanswered = 0
  /// Whether the fsync behind it was sent, and has ended.
  var awaitsSync = false
  var isSynced = false
  /// Bytes that the peer says it has appended.
  var appended = 0
  var error: Errno?

  init(
    file: OpenFile, count: Int, offset: Int64, isAppend: Bool, isSynchronous: Bool, before: Int = 0
  ) {
    self.file = file
    self.count = count
    self.offset = offset
    self.isAppend = isAppend
    self.isSynchronous = isSynchronous
    self.before = before
  }
}

/// What waits in a file's queue of writes, encoded.
struct WritePart: Sendable {
  /// nil: a time that is to be set again behind the writes before it.
  let operation: WriteOperation?
  /// Messages that leave together: of an append all, since the peer answers none before it has the last.
  let frames: [Frame]
  let bytes: Int
}

/// A listing on its way, and who waits for it.
final class ListingFetch: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let node: Node
  let handle: Handle
  /// Whether it was asked for before anybody wanted it.
  let isAhead: Bool
  var listing: CachedListing
  var waiters: [@Sendable (Result<CachedListing, Errno>) -> Void] = []
  var emptyPages = 0
  /// Of the page that came last.
  var next: UInt64 = 0
  var isEnd = false
  var error: Errno?

  init(node: Node, handle: Handle, asked: Instant, isAhead: Bool = false) {
    self.node = node
    self.handle = handle
    self.isAhead = isAhead
    listing = CachedListing(asked: asked)
  }
}

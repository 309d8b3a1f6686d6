import Core
import FUSE
import SystemPackage
import Wire

/// A file that some process has open.
final class OpenFile: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let handle: Handle
  let node: Node
  let options: OpenOptions
  var stream = ReadStream<PendingRequest>()
  /// Requests behind the segments of the stream, to be abandoned with them.
  var requests: [UInt64: UInt64] = [:]
  /// What a write behind the program's back ended with, until the program has been told.
  var error: Errno?
  /// Whether the peer's first answer to the opening has come.
  var isAnswered = false

  init(handle: Handle, node: Node, options: OpenOptions) {
    self.handle = handle
    self.node = node
    self.options = options
  }

  /// The error to report now, once.
  func takeError() -> Errno? {
    defer { error = nil }
    return error
  }
}

/// A directory that some process has open, with the listing it reads.
final class OpenDirectory: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let node: Node
  var listing: DirectoryListing?
  /// Whether the listing was read from: starting over then wants a new one.
  var isUsed = false

  init(_ node: Node) { self.node = node }
}

/// One write(2), cut into pieces.
final class WriteOperation: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let file: OpenFile
  let count: Int
  /// The kernel's request, until it is answered.
  var pending: PendingRequest?
  /// Pieces not yet sent, and not yet answered.
  var unsent = 0
  var unanswered = 0
  /// Bytes sent, and for appends, written.
  var sent = 0
  var written = 0
  var error: Errno?

  init(file: OpenFile, count: Int, pending: PendingRequest) {
    self.file = file
    self.count = count
    self.pending = pending
  }
}

/// A piece of a write, encoded.
struct WritePart: Sendable {
  let operation: WriteOperation
  let frame: Frame
  let bytes: Int
}

/// A listing on its way, and who waits for it.
final class ListingFetch: @unchecked Sendable {
  // All of it is under the lock of the filesystem.

  let node: Node
  let handle: Handle
  /// Whether it was asked for before anybody wanted it.
  let isAhead: Bool
  var listing: DirectoryListing
  var waiters: [@Sendable (Result<DirectoryListing, Errno>) -> Void] = []
  var emptyPages = 0
  /// Of the page that came last.
  var next: UInt64 = 0
  var isEnd = false
  var error: Errno?

  init(node: Node, handle: Handle, asked: Instant, isAhead: Bool = false) {
    self.node = node
    self.handle = handle
    self.isAhead = isAhead
    listing = DirectoryListing(asked: asked)
  }
}

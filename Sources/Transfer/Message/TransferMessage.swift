package import P2PFSCore
package import P2PFSWire

/// A message on the channel `transfer`, by which one computer sends files to another.
///
/// ```
/// sender                                   receiver
///   hello                  ◀─────▶           hello                  who
///   offer                  ──────▶                                  how much
///                          ◀──────           accept (or decline)
///   entry, entry, …        ──────▶                                  as the tree is walked, at most
///                          ◀──────           want, check, problem   `Limits.Transfer.ahead` unsettled files
///   begin, data …, end     ──────▶                                  each wanted file from where it is missing
///   complete               ──────▶
///                          ◀──────           result                 all is there, checked and on disk
/// ```
/// A message is one message of the channel: one byte for its kind, followed by its fields as `Reader` has them. Entries
/// are numbered from 1 in the order in which they are sent.
package enum TransferMessage: Sendable {
  /// The version of this protocol. Sides of different versions do not work together.
  package static let version: UInt16 = 1

  /// The first message of either side.
  case hello(Hello)
  /// The size and the names of the transfer, before the receiver agrees.
  case offer(Offer)
  case accept
  /// The receiver declines, with its reason.
  case decline(String)
  /// One file, directory or link.
  case entry(TransferEntry)
  /// The receiver has the first `have` bytes of a file, whose hash is `hash`, and requests the rest.
  case want(number: UInt64, have: Int64, hash: ContentHash?)
  /// The receiver has a file of the same size in this place, and requests the hash of the sender's file.
  case check(number: UInt64)
  /// Contents of a file follow, from `offset` on.
  case begin(number: UInt64, offset: Int64)
  /// The next bytes of the current file.
  case data(FrameSlice)
  /// The file is complete; the hash of all its contents. Also the answer to `check`.
  case end(number: UInt64, hash: ContentHash)
  /// This entry will be missing, or a file without a number (0) was left out.
  case problem(TransferProblem)
  /// All requested files have been sent.
  case complete
  /// The receiver is done.
  case result(TransferResult)

  /// The role and the name of a side.
  package struct Hello: Sendable, Equatable {
    package var version: UInt16
    /// Whether the side is the sender.
    package var sends: Bool
    /// The unverified name of the side, as user@host. Escape it before it is shown.
    package var claim: [UInt8]

    /// The first message of a side.
    package init(sends: Bool, claim: [UInt8], version: UInt16 = TransferMessage.version) {
      self.version = version
      self.sends = sends
      self.claim = Array(claim.prefix(Limits.Transfer.claim))
    }
  }

  /// The size and the names of the transfer, as counted beforehand. No more than this is sent.
  package struct Offer: Sendable, Equatable {
    package var files: UInt64 = 0
    package var directories: UInt64 = 0
    package var links: UInt64 = 0
    /// The size of all files.
    package var bytes: Int64 = 0
    /// The number of names at the top level.
    package var tops: UInt64 = 0
    /// The first names, all different: `Limits.Transfer.names`, or all if there are fewer. Entries arrive in their
    /// order, followed by those of other names. Escape them before they are shown.
    package var names: [[UInt8]] = []

    /// An offer of nothing.
    package init() {}

    /// The number of entries of all kinds.
    package var entries: UInt64 { files + directories + links }
  }

  enum Kind: UInt8 {
    case hello = 1
    case offer, accept, decline, entry, want, check, begin, data, end, problem, complete, result
  }
}

/// A file, directory or link that is sent.
package struct TransferEntry: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    case directory
    /// A regular file, with its size in bytes.
    case file(size: Int64)
    /// A symbolic link, which stays inside (`LinkTarget`).
    case link(target: [UInt8])
  }

  package var kind: Kind
  /// Permissions, 0 to 0o777: setuid, setgid and sticky bits are not sent.
  package var mode: UInt32
  package var modified: Timestamp
  /// The path below the receiver's directory; never empty.
  package var path: Path

  /// An entry of the given values.
  package init(_ kind: Kind, mode: UInt32, modified: Timestamp, path: Path) {
    self.kind = kind
    self.mode = mode & 0o777
    self.modified = modified
    self.path = path
  }
}

/// An entry that is missing at the end, and the reason.
package struct TransferProblem: Sendable, Equatable {
  /// The number of the entry; 0 if it has none.
  package var number: UInt64
  /// Escape it before it is shown, and the reason too.
  package var path: [UInt8]
  package var reason: String

  /// A problem of the given values.
  package init(number: UInt64, path: [UInt8], reason: String) {
    self.number = number
    self.path = Array(path.prefix(Limits.Wire.path))
    self.reason = reason
  }
}

/// The outcome of a transfer at the receiver.
package struct TransferResult: Sendable, Equatable {
  /// Files that are there and verified, including those that were there before.
  package var files: UInt64 = 0
  /// The size of these files.
  package var bytes: Int64 = 0
  /// Entries that are missing, as far as the receiver knows.
  package var problems: UInt64 = 0

  /// Nothing yet.
  package init() {}
}

/// SHA-256 of a file's contents.
package struct ContentHash: Sendable, Hashable {
  package static let length = 32
  /// 32 bytes.
  package let bytes: [UInt8]

  /// A hash of 32 bytes.
  package init(_ bytes: [UInt8]) {
    precondition(bytes.count == Self.length)
    self.bytes = bytes
  }
}

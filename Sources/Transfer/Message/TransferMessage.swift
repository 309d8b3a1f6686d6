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
/// A message is one message of the channel: a byte that says which, then its fields as `Reader` has them. Entries are
/// numbered from 1 in the order in which they are sent.
package enum TransferMessage: Sendable {
  /// The version of this protocol. Sides of different versions do not work together.
  package static let version: UInt16 = 1

  /// The first message of either side.
  case hello(Hello)
  /// What is to be sent, before the receiver agrees.
  case offer(Offer)
  case accept
  /// The receiver does not want it; why.
  case decline(String)
  /// One thing in the tree that is sent.
  case entry(TransferEntry)
  /// The receiver has the first `have` bytes of a file, whose hash is `hash`, and wants the rest.
  case want(number: UInt64, have: Int64, hash: ContentHash?)
  /// The receiver has a file of this size in this place, and wants to know the hash of the sender's.
  case check(number: UInt64)
  /// Contents of a file follow, from `offset` on.
  case begin(number: UInt64, offset: Int64)
  /// The next bytes of the file that was begun.
  case data(FrameSlice)
  /// The file is complete; the hash of all its contents. Also the answer to `check`.
  case end(number: UInt64, hash: ContentHash)
  /// This entry is not there in the end, or something was left out that has no number (0).
  case problem(TransferProblem)
  /// Everything that was wanted has been sent.
  case complete
  /// The receiver is done.
  case result(TransferResult)

  /// What each side says of itself.
  package struct Hello: Sendable, Equatable {
    package var version: UInt16
    /// Whether it sends, or receives.
    package var sends: Bool
    /// Who it claims to be: user@host. Escape it before it is shown.
    package var claim: [UInt8]

    /// The first message of a side.
    package init(sends: Bool, claim: [UInt8], version: UInt16 = TransferMessage.version) {
      self.version = version
      self.sends = sends
      self.claim = Array(claim.prefix(Limits.Transfer.claim))
    }
  }

  /// What is to be sent, as far as it is known beforehand. More does not come.
  package struct Offer: Sendable, Equatable {
    package var files: UInt64 = 0
    package var directories: UInt64 = 0
    package var links: UInt64 = 0
    /// All contents together.
    package var bytes: Int64 = 0
    /// How many names there are at the top.
    package var tops: UInt64 = 0
    /// The first of them, all different, `Limits.Transfer.names` or all if there are fewer. Entries come in their order,
    /// and those of names that are not told behind them. Escape them before they are shown.
    package var names: [[UInt8]] = []

    /// An offer of nothing.
    package init() {}

    /// Everything that is counted.
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
    /// A regular file of so many bytes.
    case file(size: Int64)
    /// A symbolic link, which stays inside (`LinkTarget`).
    case link(target: [UInt8])
  }

  package var kind: Kind
  /// Permissions, 0 to 0o777: setuid, setgid and sticky never travel.
  package var mode: UInt32
  package var modified: Timestamp
  /// Where it goes below the receiver's directory; never that directory itself.
  package var path: Path

  /// An entry of the given values.
  package init(_ kind: Kind, mode: UInt32, modified: Timestamp, path: Path) {
    self.kind = kind
    self.mode = mode & 0o777
    self.modified = modified
    self.path = path
  }
}

/// Something that is not there in the end, and why.
package struct TransferProblem: Sendable, Equatable {
  /// The number of the entry; 0 if it has none.
  package var number: UInt64
  /// Escape it before it is shown, as the reason.
  package var path: [UInt8]
  package var reason: String

  /// A problem of the given values.
  package init(number: UInt64, path: [UInt8], reason: String) {
    self.number = number
    self.path = Array(path.prefix(Limits.Wire.path))
    self.reason = reason
  }
}

/// How a transfer ended at the receiver.
package struct TransferResult: Sendable, Equatable {
  /// Files that are there and checked, those that were there before too.
  package var files: UInt64 = 0
  /// Their bytes.
  package var bytes: Int64 = 0
  /// What is not there, as far as the receiver knows.
  package var problems: UInt64 = 0

  /// Nothing yet.
  package init() {}
}

/// SHA-256 of a file's contents.
package struct ContentHash: Sendable, Hashable {
  package static let length = 32
  /// 32 of them.
  package let bytes: [UInt8]

  /// A hash of 32 bytes.
  package init(_ bytes: [UInt8]) {
    precondition(bytes.count == Self.length)
    self.bytes = bytes
  }
}

import P2PFSCore
import P2PFSSession
import SystemPackage
import P2PFSWire

/// The directory that the other computer shares, read without mounting it.
///
/// ```swift
/// for entry in try await peer.files.list("photos") {
///   guard entry.attributes?.kind == .file else { continue }
///   var size = 0
///   for try await chunk in peer.files.read(entry) { size += chunk.count }
///   print("\(entry.name): \(size) bytes")
/// }
/// ```
/// A path is relative to the shared directory; components are separated by `/`, and `..` is refused. Symbolic links are
/// not followed. Names on Linux are bytes: one that is not UTF-8 is shown with replacement characters, and is reached by
/// its `Entry`. All names are the other computer's word: they have no `/` in them and are not `..`, but may hold control
/// characters.
///
/// From any task. While the other computer is away all of it waits, for no longer than the timeout.
public struct PeerFiles: Sendable {
  let requester: any Requester
  /// Kept open as long as something is read. Without one in tests.
  let peer: Peer?

  /// What `requester` shares, which is `peer`'s session.
  init(_ requester: any Requester, of peer: Peer? = nil) {
    self.requester = requester
    self.peer = peer
  }

  /// What something is.
  public enum Kind: Sendable, Hashable {
    /// A regular file.
    case file
    /// A directory.
    case directory
    /// A symbolic link, which is not followed.
    case symbolicLink
    /// A device, FIFO or socket, which cannot be read.
    case other
  }

  /// What is known of a file or directory.
  public struct Attributes: Sendable, Hashable {
    /// What it is.
    public let kind: Kind
    /// Its length in bytes.
    public let size: Int64
    /// Permission bits as of chmod(2), setuid and setgid left out.
    public let permissions: UInt32
    /// When its contents were changed last, since the beginning of 1970 (UTC).
    public let modifiedSince1970: Duration
  }

  /// Something in a directory.
  public struct Entry: Sendable, Hashable {
    /// Its name in the directory.
    public let name: String
    /// nil if the other computer could not look at it.
    public let attributes: Attributes?
    let location: Path
    /// Its path below the shared directory.
    public var path: String { String(decoding: location.bytes, as: UTF8.self) }
  }

  // MARK: - Directories

  /// What is in a directory, in no particular order; up to 300,000 entries.
  /// - Parameter path: the shared directory itself if left out.
  /// - Throws: `.notShared`; `.file` for what the other computer's filesystem says, EOVERFLOW if there is more;
  ///   `.gone`, `.closed`; `.cancelled` if the task was.
  public func list(_ path: String = "") async throws(PeerError) -> [Entry] {
    try await entries(of: try PeerFiles.location(path))
  }

  /// What is in a directory of which an entry is known. As `list(_:)`.
  public func list(_ directory: Entry) async throws(PeerError) -> [Entry] {
    try await entries(of: directory.location)
  }

  /// What is known of a file or directory. Throws as `list(_:)`.
  public func attributes(of path: String) async throws(PeerError) -> Attributes {
    try await attributes(at: try PeerFiles.location(path))
  }

  /// What is known by now of something of which an entry is known. Throws as `list(_:)`.
  public func attributes(of entry: Entry) async throws(PeerError) -> Attributes {
    try await attributes(at: entry.location)
  }

  private func attributes(at location: Path) async throws(PeerError) -> Attributes {
    let found = Found<P2PFSWire.Attributes>()
    try await ask(.lookup(.path(location)), about: location) { reply throws(Errno) in
      guard let attributes = try? reply.attributes() else { throw .ioError }
      found.set(attributes)
    }
    guard let attributes = found.value else { throw failure(.ioError, about: location) }
    return Attributes(attributes)
  }

  // MARK: - Contents

  /// The contents of a file, or a part of them, as a sequence of chunks.
  ///
  /// The file is opened when the iteration begins, and closed when it ends or is left. Ahead of the reader up to 8 MiB
  /// are asked for, so that a long link is filled; no more than that is in memory.
  /// - Parameter range: which bytes; those behind the end of the file are not there. nil: all, to where the end is then.
  public func read(_ path: String, in range: Range<Int64>? = nil) -> Contents {
    Contents(files: self, location: Result { () throws(PeerError) in try PeerFiles.location(path) }, range: range)
  }

  /// The contents of a file of which an entry is known. As `read(_:in:)`.
  public func read(_ file: Entry, in range: Range<Int64>? = nil) -> Contents {
    Contents(files: self, location: .success(file.location), range: range)
  }

  /// The chunks of a file's contents. Each iteration reads the file anew.
  public struct Contents: AsyncSequence, Sendable {
    let files: PeerFiles
    let location: Result<Path, PeerError>
    let range: Range<Int64>?

    /// See `Contents`.
    public struct AsyncIterator: AsyncIteratorProtocol {
      let file: Result<FileReading, PeerError>

      /// The next chunk, never an empty one; nil at the end.
      /// - Throws: as `PeerFiles.list(_:)`.
      public mutating func next() async throws(PeerError) -> Bytes? { try await file.get().next() }

      /// As `next()`.
      public mutating func next(isolation actor: isolated (any Actor)?) async throws(PeerError) -> Bytes? {
        try await file.get().next()
      }
    }

    /// Opens the file.
    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(file: location.map { FileReading(files, $0, range) })
    }
  }

  /// The path that a program has given.
  private static func location(_ path: String) throws(PeerError) -> Path {
    var text = path[...]
    while text.hasPrefix("/") { text = text.dropFirst() }
    while text.hasSuffix("/") { text = text.dropLast() }
    do {
      return text == "." ? .root : try Path(text.utf8)
    } catch {
      throw PeerError(error, path: path)
    }
  }
}

extension PeerFiles.Attributes {
  init(_ attributes: P2PFSWire.Attributes) {
    kind =
      switch attributes.type {
      case .regular: .file
      case .directory: .directory
      case .symbolicLink: .symbolicLink
      case .fifo, .characterDevice, .blockDevice, .socket: .other
      }
    size = attributes.size
    permissions = attributes.mode & 0o1777
    // Saturating: the seconds are the peer's word.
    let seconds = min(max(attributes.modified.seconds, -(1 << 60)), 1 << 60)
    modifiedSince1970 = .seconds(seconds) + .nanoseconds(Int64(attributes.modified.nanoseconds))
  }
}

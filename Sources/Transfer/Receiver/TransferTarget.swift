import CP2PFSLinux
import P2PFSCore
import P2PFSExport
import Glibc
package import SystemPackage
import P2PFSWire

/// The directory into which files are received, with its existing contents.
///
/// Files are written under a name of their own (`PartName`) and renamed when they are complete and verified. Used by
/// the examining thread and by the writing thread; no state is shared between them.
///
/// Other users may create names beside ours, as in /tmp. So a part file is one that this user owns and no other may
/// write, judged by its open file and not by its name; and after the rename the name is checked to lead to the received
/// file.
package final class TransferTarget: Sendable {
  let directory: ConfinedDirectory
  let overwrites: Bool
  /// The umask of the user, applied to everything that is created: the permissions of the sender are a request.
  private let umask: UInt32

  /// The directory at `path` (`String.pathBytes`).
  /// - Parameters:
  ///   - overwrites: whether existing files that differ are replaced.
  ///   - umask: nil: that of the process.
  /// - Throws: why the directory cannot be used.
  package init(_ path: String, overwrites: Bool, umask: UInt32? = nil) throws(Errno) {
    directory = try ConfinedDirectory(path.filePath)
    self.overwrites = overwrites
    self.umask = umask ?? ProcessUmask.ofProcess
  }

  /// The permissions that an entry gets.
  func mode(of entry: TransferEntry) -> UInt32 { entry.mode & ~umask }

  /// The receiver's answer to an offered file.
  enum Answer {
    /// Request it from the end of the existing data.
    case want(Beginning)
    /// A file of this size exists: it is the same if the sender's hash is this one.
    case check(ContentHash)
  }

  /// The existing data of a file.
  struct Beginning: Sendable {
    /// The path of the part file.
    var part: Path
    var have: Int64 = 0
    /// The digest of these bytes; more are appended by one thread.
    var digest: Digest?
    /// The hash of these bytes alone.
    var hash: ContentHash?
    /// The file that contains them.
    var device: UInt64 = 0
    var inode: UInt64 = 0
    /// Whether it is the whole file, under its own name.
    var isInPlace = false
  }

  // MARK: - Examining

  /// Finds the existing data of the file at `path`, and hashes it as long as `isWanted` returns true.
  /// - Throws: an `Errno` or an `EntryRefusal` if the file cannot be received; `ECANCELED` if `isWanted` returned false.
  func examine(_ path: Path, size: Int64, while isWanted: () -> Bool) throws -> Answer {
    guard !PartName.isIn(path) else { throw EntryRefusal.isForParts }
    let existing = try attributes(at: path)
    switch existing?.type {
    case nil: break
    case .regular: guard overwrites || existing?.size == size else { throw EntryRefusal.differs }
    case .symbolicLink: guard overwrites else { throw EntryRefusal.differs }
    case .directory: throw EntryRefusal.isDirectory
    default: throw EntryRefusal.isElse
    }
    let isThere = existing?.type == .regular && existing?.size == size
    // An empty file has no data to resume from.
    if isThere, !overwrites || size == 0 {
      let file = try directory.open(path, [.read])
      return .check(try digest(of: file, size, while: isWanted).hash)
    }
    // The part file first: data left by an interruption is more likely the sender's than a file that is to be replaced.
    let (part, found) = try part(for: path)
    var beginning = Beginning(part: part)
    if let found, isPart(found), found.size > 0, found.size <= size, let file = try openOwn(part, [.read]) {
      let now = file.attributes
      (beginning.have, beginning.device, beginning.inode) = (
        min(now.size, size), now.identity.device, now.identity.inode
      )
      beginning.digest = try digest(of: file.descriptor, beginning.have, while: isWanted)
    } else if isThere {
      (beginning.have, beginning.isInPlace) = (size, true)
      let file = try directory.open(path, [.read])
      beginning.digest = try digest(of: file, size, while: isWanted)
    }
    beginning.hash = beginning.digest?.hash
    return .want(beginning)
  }

  private func digest(
    of file: borrowing Descriptor, _ size: Int64, while isWanted: () -> Bool
  ) throws -> Digest {
    let digest = Digest()
    guard try FileContents.hash(file.rawValue, upTo: size, into: digest, while: isWanted) else {
      throw EntryRefusal.hasChanged
    }
    return digest
  }

  /// The attributes of an existing file; nil if there is none.
  func attributes(at path: Path) throws(Errno) -> Attributes? {
    do throws(Errno) { return try directory.attributes(at: path) } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
      return nil
    }
  }

  // MARK: - Directories and links

  /// Marks a directory of ours that is writable while it is being filled, and read-only at the end: the sticky bit,
  /// which means nothing here and is never sent. So it is clear after an interruption whose permissions they are.
  private static let mark: UInt32 = 0o1000

  /// Creates a directory, or finds an existing one. A directory that was created here is writable until
  /// `DirectoryTable.settle`.
  /// - Returns: its final permissions; nil if they are not ours to change.
  /// - Throws: an `Errno` or an `EntryRefusal`.
  func makeDirectory(_ entry: TransferEntry) throws -> UInt32? {
    guard !PartName.isIn(entry.path) else { throw EntryRefusal.isForParts }
    let wanted = mode(of: entry)
    let isWritable = wanted & 0o700 == 0o700
    let meanwhile = isWritable ? wanted : wanted | 0o700 | Self.mark
    if let existing = try attributes(at: entry.path) {
      guard existing.type == .directory else { throw EntryRefusal.isElse }
      guard try !isPlanted(entry.path) else { throw EntryRefusal.isForeign }
      let mode = existing.mode & 0o1777
      guard !isWritable, mode == meanwhile || mode == wanted else { return nil }
      // Left by an interruption, or by a run that had settled it before the next one added files.
      guard mode == meanwhile || (try? change(entry.path, mode: meanwhile)) != nil else { return nil }
      return wanted
    }
    do throws(Errno) { _ = try directory.makeDirectory(at: entry.path, mode: meanwhile) } catch {
      guard error == .fileExists else { throw error }
      return nil
    }
    // On filesystems without modes this is reported at the end.
    _ = try? change(entry.path, mode: meanwhile)
    return wanted
  }

  /// Whether the directory at `path` is another user's, in a place where every user may create files.
  private func isPlanted(_ path: Path) throws(Errno) -> Bool {
    let own = try directory.ownership(at: path)
    guard own.user != geteuid(), own.user != 0, let (parent, _) = path.parentAndName else { return false }
    return try directory.ownership(at: parent).isForAll
  }

  private func change(_ path: Path, mode: UInt32) throws(Errno) {
    _ = try directory.change(path, AttributeChanges(mode: mode))
  }

  /// Creates a symbolic link, or finds an existing one.
  /// - Throws: an `Errno` or an `EntryRefusal`.
  func makeLink(_ entry: TransferEntry, to target: [UInt8]) throws {
    guard !PartName.isIn(entry.path) else { throw EntryRefusal.isForParts }
    guard let existing = try attributes(at: entry.path) else {
      do throws(Errno) { _ = try directory.makeSymbolicLink(at: entry.path, target: target) } catch {
        throw error == .fileExists ? EntryRefusal.hasCome : error
      }
      _ = try? directory.change(entry.path, AttributeChanges(modified: .set(entry.modified)))
      return
    }
    if existing.type == .symbolicLink, try directory.target(ofLinkAt: entry.path) == target { return }
    guard existing.type != .directory else { throw EntryRefusal.isDirectory }
    guard overwrites, existing.type == .symbolicLink || existing.type == .regular else { throw EntryRefusal.differs }
    let part = try part(for: entry.path).path
    try removePart(part)
    _ = try directory.makeSymbolicLink(at: part, target: target)
    _ = try? directory.change(part, AttributeChanges(modified: .set(entry.modified)))
    do throws(Errno) { try directory.rename(part, to: entry.path, .replace) } catch {
      try? directory.unlink(part)
      throw error
    }
    guard try directory.target(ofLinkAt: entry.path) == target else { throw EntryRefusal.isSwapped }
  }
}

import CP2PFSLinux
import P2PFSCore
import P2PFSExport
import Glibc
package import SystemPackage
import P2PFSWire

/// The directory into which a transfer goes, with what is there already.
///
/// Files grow under a name of their own (`PartName`) and get theirs when they are complete and checked. Used by the
/// thread that examines entries and by the one that writes contents: what both touch is each in one place only.
///
/// Others may have names beside ours, as in /tmp. So a part is one that this user owns and nobody else may write, by its
/// open file and not by its name; and whether a name leads to what was received is looked at once it has it.
package final class TransferTarget: Sendable {
  let directory: ConfinedDirectory
  let overwrites: Bool
  /// What the user takes from the permissions of everything that is made: the sender's are a wish.
  private let umask: UInt32

  /// The directory at `path` (`String.pathBytes`).
  /// - Parameters:
  ///   - overwrites: whether files that are there and differ are replaced.
  ///   - umask: nil: the process' own.
  /// - Throws: what is wrong with it.
  package init(_ path: String, overwrites: Bool, umask: UInt32? = nil) throws(Errno) {
    directory = try ConfinedDirectory(path.filePath)
    self.overwrites = overwrites
    self.umask = umask ?? ProcessUmask.ofProcess
  }

  /// The permissions that an entry gets.
  func mode(of entry: TransferEntry) -> UInt32 { entry.mode & ~umask }

  /// What to ask the sender about a file that is offered.
  enum Answer {
    /// It is wanted, from where it ends here.
    case want(Beginning)
    /// A file of this size is there: it is the same if the sender's hash is this one.
    case check(ContentHash)
  }

  /// What there is of a file already.
  struct Beginning: Sendable {
    /// Where the file grows.
    var part: Path
    var have: Int64 = 0
    /// Of these bytes; more are to be appended, by one thread.
    var digest: Digest?
    /// What the digest says of these bytes alone.
    var hash: ContentHash?
    /// The file that has them.
    var device: UInt64 = 0
    var inode: UInt64 = 0
    /// It is the whole file, under its own name.
    var isInPlace = false
  }

  // MARK: - Examining

  /// Looks at what there is of the file at `path`, and hashes it while that `isWanted`.
  /// - Throws: an `Errno` or a `EntryRefusal`, why it cannot be had; `ECANCELED` if it is not wanted any more.
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
    // Of an empty file there is nothing to go on from.
    if isThere, !overwrites || size == 0 {
      let file = try directory.open(path, [.read])
      return .check(try digest(of: file, size, while: isWanted).hash)
    }
    // A part first: what an interruption has left is more likely to be the sender's than what is to be replaced.
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

  /// The attributes of what is there; nil if nothing is.
  func attributes(at path: Path) throws(Errno) -> Attributes? {
    do throws(Errno) { return try directory.attributes(at: path) } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
      return nil
    }
  }

  // MARK: - Directories and links

  /// Marks a directory of ours that must be writable until it is filled, and is not to be in the end: the sticky bit,
  /// which means nothing here and never travels. So an interruption leaves no doubt about whose permissions they are.
  private static let mark: UInt32 = 0o1000

  /// Makes a directory, or finds it. One that was made here lets us write to it until `DirectoryTable.settle`.
  /// - Returns: the permissions that it is to have in the end; nil if they are not ours to change.
  /// - Throws: an `Errno` or a `EntryRefusal`.
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
      // As an interruption has left it, or a run that had settled it before the next one brought more.
      guard mode == meanwhile || (try? change(entry.path, mode: meanwhile)) != nil else { return nil }
      return wanted
    }
    do throws(Errno) { _ = try directory.makeDirectory(at: entry.path, mode: meanwhile) } catch {
      guard error == .fileExists else { throw error }
      return nil
    }
    // Where there are no modes, that is told in the end.
    _ = try? change(entry.path, mode: meanwhile)
    return wanted
  }

  /// Whether the directory at `path` is another user's, in a place where everybody may put something.
  private func isPlanted(_ path: Path) throws(Errno) -> Bool {
    let own = try directory.ownership(at: path)
    guard own.user != geteuid(), own.user != 0, let (parent, _) = path.parentAndName else { return false }
    return try directory.ownership(at: parent).isForAll
  }

  private func change(_ path: Path, mode: UInt32) throws(Errno) {
    _ = try directory.change(path, AttributeChanges(mode: mode))
  }

  /// Makes a symbolic link, or finds it.
  /// - Throws: an `Errno` or a `EntryRefusal`.
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

import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage
import P2PFSWire

/// An open, locked part file; a class, since a descriptor cannot be copied.
final class HeldFile: Sendable {
  let descriptor: Descriptor
  /// The attributes when it was opened.
  let attributes: Attributes
  /// It was just created, so no other process has it open.
  let isNew: Bool

  init(_ descriptor: consuming Descriptor, isNew: Bool, in directory: ConfinedDirectory) throws(Errno) {
    attributes = try directory.attributes(of: descriptor)
    self.descriptor = descriptor
    self.isNew = isNew
  }
}

/// The part files. A process that writes one, or creates or removes its name, holds its lock (flock(2)), which ends
/// with the process: two transfers into one directory may bring the same file.
extension TransferTarget {
  /// The place of the part file for `path`, and its present state.
  func part(for path: Path) throws(Errno) -> (path: Path, found: Attributes?) {
    do throws(Errno) {
      let part = try PartName.path(for: path)
      return (part, try attributes(at: part))
    } catch {
      guard error == .fileNameTooLong || error == .illegalByteSequence else { throw error }
      let part = try PartName.path(for: path, isShort: true)
      return (part, try attributes(at: part))
    }
  }

  /// Whether a file can be one of our part files, judging by its links: no other name leads to it.
  func isPart(_ found: Attributes) -> Bool { found.type == .regular && found.links == 1 }

  /// Opens a part file; nil if the open file is not one of ours. From here on only its owner can read or write it.
  func openOwn(_ part: Path, _ options: OpenOptions) throws -> HeldFile? {
    guard try directory.ownership(at: part).user == geteuid() else { return nil }
    let file = try HeldFile(open(part, options), isNew: false, in: directory)
    let descriptor = file.descriptor.rawValue
    let before = try Ownership(file.descriptor)
    guard isPart(file.attributes), before.user == geteuid() else { return nil }
    _ = fchmod(descriptor, 0o600)
    // A user who could write it may have it open. On filesystems without permissions they are unchanged, and tell
    // nothing.
    guard before.isWritableForOthers else { return file }
    return try Ownership(file.descriptor).isWritableForOthers ? file : nil
  }

  /// Opens a part file, even one that has got the permissions of a read-only file already.
  func open(_ part: Path, _ options: OpenOptions) throws(Errno) -> Descriptor {
    do throws(Errno) { return try directory.open(part, options) } catch {
      guard error == .permissionDenied else { throw error }
      _ = try directory.change(part, AttributeChanges(mode: 0o600))
      return try directory.open(part, options)
    }
  }

  /// Opens or creates the part file and locks it. Anything else at that name is removed.
  /// - Throws: an `Errno` or an `EntryRefusal`.
  func claim(_ part: Path) throws -> HeldFile {
    for _ in 0..<Limits.Transfer.claims {
      guard let file = try openOrMake(part) else { continue }
      // Without locks only the check of the name is left, here and at the end.
      let isLocked = flock(file.descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK
      guard isLocked else { throw EntryRefusal.isTaken }
      guard try file.isNew || isAt(part, file) else { throw EntryRefusal.isTaken }
      return file
    }
    throw EntryRefusal.isTaken
  }

  /// Returns nil if the name has changed meanwhile.
  private func openOrMake(_ part: Path) throws -> HeldFile? {
    do throws(Errno) {
      return try HeldFile(
        directory.create(part, [.read, .write, .exclusive], mode: 0o600), isNew: true, in: directory)
    } catch {
      guard error == .fileExists else { throw error }
      guard let found = try attributes(at: part) else { return nil }
      do {
        if isPart(found), let file = try openOwn(part, [.read, .write]) { return file }
        try unlinkForeign(part)
      } catch Errno.noSuchFileOrDirectory {}
      return nil
    }
  }

  /// Removes a file at `part` that is not a part file of ours, if permitted.
  private func unlinkForeign(_ part: Path) throws {
    do throws(Errno) { try directory.unlink(part) } catch {
      // As in /tmp, where no user can remove the files of another.
      guard error == .notPermitted || error == .permissionDenied else { throw error }
      throw EntryRefusal.isForeignPart
    }
  }

  /// Whether `part` is the only name of that open file.
  func isAt(_ part: Path, _ file: HeldFile) throws(Errno) -> Bool {
    guard let found = try attributes(at: part) else { return false }
    return found.identity == file.attributes.identity
  }

  /// Removes the file at `part`.
  /// - Throws: an `Errno` or an `EntryRefusal`.
  func removePart(_ part: Path) throws {
    guard let found = try attributes(at: part) else { return }
    let file = isPart(found) ? try claim(part) : nil
    try unlinkForeign(part)
    withExtendedLifetime(file) {}
  }

  /// Renames a complete file to its final name. The caller holds the lock and has checked that the name still leads to
  /// the file.
  /// - Throws: `EEXIST` if something is there that must not be replaced.
  func name(_ part: Path, _ path: Path) throws(Errno) {
    guard !overwrites else { return try directory.rename(part, to: path, .replace) }
    do throws(Errno) { try directory.rename(part, to: path, .noReplace) } catch {
      // Filesystems without RENAME_NOREPLACE, such as NFS: a hard link never replaces a file.
      guard [.invalidArgument, .noFunction, .notSupported].contains(error) else { throw error }
      do throws(Errno) { _ = try directory.link(part, to: path) } catch {
        let hasNoLinks = [.notPermitted, .noFunction, .notSupported].contains(error)
        guard hasNoLinks, try attributes(at: path) == nil else { throw error }
        return try directory.rename(part, to: path, .replace)
      }
      try directory.unlink(part)
    }
  }
}

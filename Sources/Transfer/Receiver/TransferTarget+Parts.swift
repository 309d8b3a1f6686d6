import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage
import P2PFSWire

/// The open part of a file, with its lock; a class may hold what cannot be copied.
final class HeldFile: Sendable {
  let descriptor: Descriptor
  /// As it was opened.
  let attributes: Attributes
  /// It was made, so nobody else has it yet.
  let isNew: Bool

  init(_ descriptor: consuming Descriptor, isNew: Bool, in directory: ConfinedDirectory) throws(Errno) {
    attributes = try directory.attributes(of: descriptor)
    self.descriptor = descriptor
    self.isNew = isNew
  }
}

/// The parts of files. Whoever writes to one, or gives or takes its name, holds its lock (flock(2)), which ends with
/// the process: two transfers into one directory may bring the same file.
extension TransferTarget {
  /// Where the file at `path` grows, and what is there.
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

  /// Whether that may be a part of ours, as far as its name tells: nobody else has it by another one.
  func isPart(_ found: Attributes) -> Bool { found.type == .regular && found.links == 1 }

  /// Opens a part; nil if what is open then is none of ours. Only its owner can read or write it from here on.
  func openOwn(_ part: Path, _ options: OpenOptions) throws -> HeldFile? {
    guard try directory.ownership(at: part).user == geteuid() else { return nil }
    let file = try HeldFile(open(part, options), isNew: false, in: directory)
    let descriptor = file.descriptor.rawValue
    let before = try Ownership(file.descriptor)
    guard isPart(file.attributes), before.user == geteuid() else { return nil }
    _ = fchmod(descriptor, 0o600)
    // Who could write it may have it open. Where there are no permissions they stay as they are, and tell nothing.
    guard before.isWritableForOthers else { return file }
    return try Ownership(file.descriptor).isWritableForOthers ? file : nil
  }

  /// Opens a part, also one that had got the permissions of a file that nobody may write.
  func open(_ part: Path, _ options: OpenOptions) throws(Errno) -> Descriptor {
    do throws(Errno) { return try directory.open(part, options) } catch {
      guard error == .permissionDenied else { throw error }
      _ = try directory.change(part, AttributeChanges(mode: 0o600))
      return try directory.open(part, options)
    }
  }

  /// Opens what grows at `part`, or makes it, with its lock. What is there and no part gives way.
  /// - Throws: an `Errno` or a `EntryRefusal`.
  func claim(_ part: Path) throws -> HeldFile {
    for _ in 0..<Limits.Transfer.claims {
      guard let file = try openOrMake(part) else { continue }
      // Where there are no locks, what is left is the look at the name, here and in the end.
      let isLocked = flock(file.descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK
      guard isLocked else { throw EntryRefusal.isTaken }
      guard try file.isNew || isAt(part, file) else { throw EntryRefusal.isTaken }
      return file
    }
    throw EntryRefusal.isTaken
  }

  /// Returns nil if it has changed in between.
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

  /// Removes what is at `part` and no part of ours, if that may be.
  private func unlinkForeign(_ part: Path) throws {
    do throws(Errno) { try directory.unlink(part) } catch {
      // As in /tmp, where nobody removes what is another's.
      guard error == .notPermitted || error == .permissionDenied else { throw error }
      throw EntryRefusal.isForeignPart
    }
  }

  /// Whether `part` is the name of that open file, and of no other.
  func isAt(_ part: Path, _ file: HeldFile) throws(Errno) -> Bool {
    guard let found = try attributes(at: part) else { return false }
    return found.identity == file.attributes.identity
  }

  /// Removes what is at `part`.
  /// - Throws: an `Errno` or a `EntryRefusal`.
  func removePart(_ part: Path) throws {
    guard let found = try attributes(at: part) else { return }
    let file = isPart(found) ? try claim(part) : nil
    try unlinkForeign(part)
    withExtendedLifetime(file) {}
  }

  /// Gives what is complete its name. Who holds its lock is to have looked that it still is that file.
  /// - Throws: `EEXIST` if something is there that must not be replaced.
  func name(_ part: Path, _ path: Path) throws(Errno) {
    guard !overwrites else { return try directory.rename(part, to: path, .replace) }
    do throws(Errno) { try directory.rename(part, to: path, .noReplace) } catch {
      // Filesystems that do not know RENAME_NOREPLACE, as NFS: a link never replaces.
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

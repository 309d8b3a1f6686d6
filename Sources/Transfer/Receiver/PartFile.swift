import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage
import P2PFSWire

/// The file that is being received: written and hashed piece by piece, and renamed when it is complete.
///
/// Used by the writing thread only.
final class PartFile {
  let number: UInt64
  let entry: TransferEntry
  private let target: TransferTarget
  private let part: Path
  private let digest: Digest
  /// The part file, locked. nil: the file is in its final place already.
  private let file: HeldFile?

  /// Opens the part file for contents from `offset` on, which is 0 or the end of `beginning`.
  /// - Throws: an `Errno` or an `EntryRefusal`.
  init(
    _ number: UInt64, _ entry: TransferEntry, in target: TransferTarget, after beginning: TransferTarget.Beginning,
    offset: Int64
  ) throws {
    self.number = number
    self.entry = entry
    self.target = target
    part = beginning.part
    let goesOn = offset > 0 ? beginning.digest : nil
    digest = goesOn ?? Digest()
    guard goesOn == nil || !beginning.isInPlace else {
      file = nil
      return
    }
    let file = try target.claim(part)
    self.file = file
    let now = file.attributes
    if goesOn != nil {
      guard now.size == offset, now.identity.device == beginning.device, now.identity.inode == beginning.inode else {
        throw EntryRefusal.hasChanged
      }
    } else if now.size > 0 {
      guard ftruncate(file.descriptor.rawValue, 0) == 0 else { throw Errno(rawValue: errno) }
    }
  }

  /// Appends contents.
  func write(_ slice: FrameSlice, at offset: Int64) throws(Errno) {
    guard let file else { return }
    try FileContents.write(file.descriptor.rawValue, slice.bytes, at: offset)
    digest.update(slice.bytes)
  }

  /// Verifies the complete file, and sets its mode, time and name.
  /// - Returns: the attributes that could not be set, though the file is there; nil if all were set.
  /// - Throws: an `Errno` or an `EntryRefusal` if the file could not be put in place. If it is complete, the part file is
  ///   kept in case the place becomes free.
  func finish(_ hash: ContentHash, synchronizing filesystems: inout FilesystemTable) throws -> String? {
    guard digest.hash == hash else {
      if let file, try target.isAt(part, file) { try? target.directory.unlink(part) }
      throw EntryRefusal.isDamaged
    }
    guard let file else { return nil }
    var failure: Errno?
    let changes = AttributeChanges(mode: target.mode(of: entry), modified: .set(entry.modified))
    do throws(Errno) { _ = try target.directory.change(file.descriptor.rawValue, changes) } catch {
      failure = error
      // Setting the time may succeed where setting the mode fails.
      let time = AttributeChanges(modified: .set(entry.modified))
      _ = try? target.directory.change(file.descriptor.rawValue, time)
    }
    try filesystems.note(file.attributes.identity.device, file.descriptor)
    if target.overwrites, try target.attributes(at: entry.path) != nil {
      // Sync the new file before it replaces an old one.
      guard fdatasync(file.descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
    }
    guard try target.isAt(part, file) else { throw EntryRefusal.isTaken }
    do throws(Errno) { try target.name(part, entry.path) } catch {
      _ = fchmod(file.descriptor.rawValue, 0o600)
      throw error == .fileExists ? EntryRefusal.hasCome : error
    }
    guard try target.isAt(entry.path, file) else { throw EntryRefusal.isSwapped }
    return failure.map { TransferTarget.unsettled($0) }
  }
}

extension TransferTarget {
  /// The report on a file or directory that is there with other attributes than it should have.
  static func unsettled(_ error: Errno) -> String { "it is there, but its mode and time cannot be set: \(error)" }
}

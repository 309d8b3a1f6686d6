internal import Core
internal import Export
internal import SystemPackage
internal import Wire

/// The file that is being received: written piece by piece, hashed meanwhile, named when it is complete.
///
/// Of the thread that writes alone.
final class PartFile {
  let number: UInt64
  let entry: TransferEntry
  private let target: TransferTarget
  private let part: Path
  private let digest: Digest
  /// nil: it is in its place already.
  private let file: FileHolder?

  /// The open file; a class may hold what cannot be copied.
  private final class FileHolder {
    let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
  }

  /// Opens the part of a file for contents from `offset` on, which is 0 or where `beginning` ends.
  init(
    _ number: UInt64, _ entry: TransferEntry, in target: TransferTarget, after beginning: TransferTarget.Beginning,
    offset: Int64
  ) throws(Errno) {
    self.number = number
    self.entry = entry
    self.target = target
    part = try PartName.path(for: entry.path)
    guard offset > 0, let digest = beginning.digest else {
      digest = Digest()
      // Not truncated in place: whoever else has the old one by another name keeps it.
      if let old = try target.attributes(at: part), old.type != .directory { try target.directory.unlink(part) }
      file = FileHolder(try target.directory.create(part, [.read, .write, .exclusive], mode: 0o600))
      return
    }
    self.digest = digest
    guard !beginning.isInPlace else {
      file = nil
      return
    }
    let descriptor = try target.directory.open(part, [.read, .write])
    let now = try target.directory.attributes(of: descriptor)
    guard now.size == offset, now.inode == beginning.inode, now.links == 1 else { throw .textFileBusy }
    file = FileHolder(descriptor)
  }

  /// Writes the next contents.
  func write(_ slice: FrameSlice, at offset: Int64) throws(Errno) {
    guard let file else { return }
    try FileContents.write(file.descriptor.rawValue, slice.bytes, at: offset)
    digest.update(slice.bytes)
  }

  /// All contents have come: checks them, and gives the file its mode, time and name.
  /// - Returns: why it is not there now; nil if it is.
  func finish(_ hash: ContentHash, synchronizing filesystems: inout FilesystemTable) -> String? {
    guard digest.hash == hash else {
      if file != nil { try? target.directory.unlink(part) }
      return "it did not arrive as it was sent (its hash differs)"
    }
    guard let file else { return nil }
    do throws(Errno) {
      let changes = AttributeChanges(mode: entry.mode, modified: .set(entry.modified))
      let attributes = try target.directory.change(file.descriptor.rawValue, changes)
      filesystems.note(attributes.device, file.descriptor)
      try target.name(part, entry.path)
      return nil
    } catch {
      // It stays as a part: it is complete, should its place become free.
      return error == .fileExists ? "a different one has come there meanwhile" : "\(error)"
    }
  }
}

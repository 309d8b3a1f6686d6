internal import CLinux
internal import Core
internal import Export
internal import Glibc
package import SystemPackage
internal import Wire

/// The directory into which a transfer goes, with what is there already.
///
/// Files grow under a name of their own (`PartName`) and get theirs when they are complete and checked. Used by the
/// thread that examines entries and by the one that writes contents: what both touch is each in one place only.
package final class TransferTarget: Sendable {
  let directory: ConfinedDirectory
  let overwrites: Bool

  /// The directory at `path`.
  /// - Parameter overwrites: whether files that are there and differ are replaced.
  /// - Throws: what is wrong with it.
  package init(_ path: String, overwrites: Bool) throws(Errno) {
    directory = try ConfinedDirectory(FilePath(path))
    self.overwrites = overwrites
  }

  /// What to tell the sender about a file that is offered.
  enum Answer {
    /// It is wanted, from where it ends here.
    case want(Beginning)
    /// A file of this size is there: it is the same if the sender's hash is this one.
    case check(ContentHash)
    case refuse(String)
  }

  /// What there is of a file already.
  struct Beginning: Sendable {
    var have: Int64 = 0
    /// Of these bytes; more are to be appended.
    var digest: Digest?
    /// The inode of the file that has them.
    var inode: UInt64 = 0
    /// It is the whole file, under its own name.
    var isInPlace = false
  }

  static let differs = "a different one is there already (--overwrite replaces it)"

  // MARK: - Examining

  /// Looks at what there is of the file at `path`, and hashes it while that `isWanted`.
  func examine(_ path: Path, size: Int64, while isWanted: () -> Bool) -> Answer {
    do throws(Errno) {
      guard !PartName.isIn(path) else { return .refuse("a name that is kept for parts of files") }
      if let existing = try attributes(at: path) {
        switch existing.type {
        case .regular where existing.size == size:
          let (digest, inode) = try hash(path, upTo: size, while: isWanted)
          guard overwrites else { return .check(digest.hash) }
          return .want(Beginning(have: size, digest: digest, inode: inode, isInPlace: true))
        case .regular, .symbolicLink: guard overwrites else { return .refuse(Self.differs) }
        case .directory: return .refuse("a directory of this name is there already")
        default: return .refuse("something else of this name is there already")
        }
      }
      let part = try PartName.path(for: path)
      guard let existing = try attributes(at: part), existing.type == .regular, existing.links == 1,
        existing.size > 0, existing.size <= size
      else { return .want(Beginning()) }
      let (digest, inode) = try hash(part, upTo: existing.size, while: isWanted)
      return .want(Beginning(have: existing.size, digest: digest, inode: inode))
    } catch {
      return .refuse("\(error)")
    }
  }

  private func hash(
    _ path: Path, upTo size: Int64, while isWanted: () -> Bool
  ) throws(Errno) -> (Digest, inode: UInt64) {
    let file = try directory.open(path, [.read])
    let digest = Digest()
    guard try FileContents.hash(file.rawValue, upTo: size, into: digest, while: isWanted) else { throw .textFileBusy }
    return (digest, try directory.attributes(of: file).inode)
  }

  /// The attributes of what is there; nil if nothing is.
  func attributes(at path: Path) throws(Errno) -> Attributes? {
    do throws(Errno) { return try directory.attributes(at: path) } catch {
      guard error == .noSuchFileOrDirectory else { throw error }
      return nil
    }
  }

  // MARK: - Directories and links

  /// Makes a directory, or finds it. Its permissions let us write to it until `DirectoryTable.settle`.
  /// - Returns: the permissions that it is to have in the end; nil if they are not ours to change.
  func makeDirectory(_ entry: TransferEntry) throws(Errno) -> UInt32? {
    guard !PartName.isIn(entry.path) else { throw .invalidArgument }
    if let existing = try attributes(at: entry.path) {
      guard existing.type == .directory else { throw .notDirectory }
      // Made by us before an interruption, it seems.
      return existing.mode & 0o7777 == entry.mode | 0o700 ? entry.mode : nil
    }
    do throws(Errno) { _ = try directory.makeDirectory(at: entry.path, mode: entry.mode | 0o700) } catch {
      guard error == .fileExists else { throw error }
    }
    return entry.mode
  }

  /// Makes a symbolic link, or finds it.
  /// - Returns: why not; nil if it is there.
  func makeLink(_ entry: TransferEntry, to target: [UInt8]) -> String? {
    do throws(Errno) {
      guard !PartName.isIn(entry.path) else { return "a name that is kept for parts of files" }
      if let existing = try attributes(at: entry.path) {
        if existing.type == .symbolicLink, try directory.target(ofLinkAt: entry.path) == target { return nil }
        guard existing.type != .directory else { return "a directory of this name is there already" }
        guard overwrites, existing.type == .symbolicLink || existing.type == .regular else { return Self.differs }
      }
      let part = try PartName.path(for: entry.path)
      if let old = try attributes(at: part), old.type != .directory { try directory.unlink(part) }
      _ = try directory.makeSymbolicLink(at: part, target: target)
      _ = try? directory.change(part, AttributeChanges(modified: .set(entry.modified)))
      do throws(Errno) { try name(part, entry.path) } catch {
        try? directory.unlink(part)
        return error == .fileExists ? Self.differs : "\(error)"
      }
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// Gives what is complete its name.
  /// - Throws: `EEXIST` if something is there that must not be replaced.
  func name(_ part: Path, _ path: Path) throws(Errno) {
    guard !overwrites else { return try directory.rename(part, to: path, .replace) }
    do throws(Errno) { try directory.rename(part, to: path, .noReplace) } catch {
      // Filesystems that do not know RENAME_NOREPLACE, as NFS: a link never replaces.
      guard error == .invalidArgument else { throw error }
      do throws(Errno) { _ = try directory.link(part, to: path) } catch {
        guard error == .notPermitted || error == .notSupported, try attributes(at: path) == nil else { throw error }
        return try directory.rename(part, to: path, .replace)
      }
      try directory.unlink(part)
    }
  }

  // MARK: - Room

  /// Whether `offer` fits onto the disk, as far as that is known beforehand; else what to tell.
  func shortage(for offer: TransferMessage.Offer) -> String? {
    guard let statistics = try? directory.statistics(at: .root) else { return nil }
    let free = statistics.availableBlocks.multipliedReportingOverflow(by: statistics.fragmentSize)
    guard !free.overflow, free.partialValue < UInt64(offer.bytes) else { return nil }
    // Some of it may be there from before; of what is not named we cannot know.
    guard offer.tops == UInt64(offer.names.count) else { return nil }
    guard let present = bytesPresent(of: offer.names) else { return nil }
    guard present < UInt64(offer.bytes) - free.partialValue else { return nil }
    return "not enough space: \(offer.bytes) bytes are offered, \(free.partialValue) are free"
  }

  /// Bytes of files below these names; nil if that is too much to look at.
  private func bytesPresent(of names: [[UInt8]]) -> UInt64? {
    var bytes: UInt64 = 0
    var seen = 0
    var open = names.flatMap { name -> [Path] in
      guard let path = try? Path(name) else { return [] }
      return [path] + ((try? PartName.path(for: path)).map { [$0] } ?? [])
    }
    while let path = open.popLast() {
      seen += 1
      guard seen <= Limits.Transfer.lookedAt else { return nil }
      guard let attributes = try? directory.attributes(at: path) else { continue }
      switch attributes.type {
      case .regular:
        // What it takes on disk: a hole takes nothing.
        let (sum, overflow) = bytes.addingReportingOverflow(min(attributes.blocks &* 512, UInt64(attributes.size)))
        guard !overflow else { return nil }
        bytes = sum
      case .directory:
        guard let names = try? directory.names(in: path, limit: Limits.Transfer.lookedAt) else { continue }
        open += names.compactMap { try? path.appending($0) }
      default: break
      }
    }
    return bytes
  }
}

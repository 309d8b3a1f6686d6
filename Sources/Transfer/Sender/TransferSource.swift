import CP2PFSLinux
import P2PFSCore
import P2PFSExport
import Glibc
import P2PFSSession
import SystemPackage
import P2PFSWire

/// The files and directories of this computer that are sent, each under the name that the receiver sees.
///
/// Everything is opened through a `ConfinedDirectory` at the parent of each, so that no concurrent change leads
/// elsewhere. A walk keeps the names in the directories on its path, and nothing of those it has passed.
package final class TransferSource: Sendable {
  /// A step of the walk.
  enum Step {
    case entry(TransferEntry, Place)
    /// An entry that is not sent, and the reason.
    case skipped(path: [UInt8], reason: String)
  }

  /// The place of an entry on this computer.
  struct Place: Sendable {
    /// The index of the given path.
    let item: Int
    /// The path below the parent of the item.
    let path: Path
    /// The attributes when the entry was announced.
    let attributes: Attributes
  }

  private struct Item {
    let parent: ConfinedDirectory
    /// The name on this computer, and the name for the receiver, which differs if a symbolic link was given.
    let local: Path
    let name: Path
  }

  private let items: [Item]

  /// The paths that a user has given (`String.pathBytes`). A path that is a symbolic link stands for its target, under
  /// the name of the link; one that ends in `/`, `.` or `..` gets the real name.
  /// - Throws: an error in a path, as text for the user.
  package init(_ paths: [String]) throws(TransferFailure) {
    var items: [Item] = []
    var names: Set<Path> = []
    for path in paths {
      let item = try TransferSource.item(path)
      guard names.insert(item.name).inserted else {
        throw .local("two of the paths have the name \(String(pathBytes: item.name.bytes))")
      }
      items.append(item)
    }
    self.items = items
  }

  private static func item(_ path: String) throws(TransferFailure) -> Item {
    func failure(_ error: Errno) -> TransferFailure { .local("\(path): \(error)") }
    let ours = TransferFailure.local(
      "\(path): mounted by p2pfs. Send it from the computer that has it, or copy it first")
    guard let resolved = path.withPath({ realpath($0, nil) }) else { throw failure(Errno(rawValue: errno)) }
    defer { free(resolved) }
    let real = Array(UnsafeBufferPointer(start: resolved, count: strlen(resolved)))
    guard let slash = real.lastIndex(of: CChar(bitPattern: UInt8(ascii: "/"))), slash + 1 < real.count else {
      throw .local("\(path): the root of the filesystem has no name")
    }
    let directory = FilePath(platformString: Array(real[..<max(slash, 1)] + [0]))
    let last =
      path.pathBytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).last.map(Array.init) ?? []
    let isPlain = (try? Path.check(component: last)) != nil
    let (found, type, isBarred): (Item, P2PFSWire.FileType, Bool)
    do throws(Errno) {
      let local = try Path(real[(slash + 1)...].map { UInt8(bitPattern: $0) })
      let name = isPlain ? try Path(last) : local
      found = Item(parent: try ConfinedDirectory(directory), local: local, name: name)
      type = try found.parent.attributes(at: local).type
      isBarred = try found.parent.isBarred(local)
    } catch {
      // The error of ConfinedDirectory for a directory on such a mount.
      throw error == .notPermitted ? ours : failure(error)
    }
    guard !isBarred else { throw ours }
    guard !PartName.isIn(found.name) else {
      throw .local("\(path): part of an interrupted transfer; p2pfs receive completes it")
    }
    guard type == .directory || type == .regular else { throw .local("\(path): neither a file nor a directory") }
    return found
  }

  // MARK: - Walking

  /// Calls `body` for each entry, a directory before its contents. `body` decides whether to enter a directory, and
  /// ends the walk by throwing.
  func walk(_ body: (Step) throws(TransferFailure) -> Bool) throws(TransferFailure) {
    for index in items.indices { try walk(index, body) }
  }

  private func walk(_ index: Int, _ body: (Step) throws(TransferFailure) -> Bool) throws(TransferFailure) {
    let item = items[index]
    // For each level: a directory on this computer and its path there, and the names in it that are not visited yet,
    // last first.
    var levels: [(local: Path, name: Path, rest: [[UInt8]])] = []
    func enter(_ local: Path, _ name: Path) throws(TransferFailure) {
      let step = step(index, local, name)
      guard try body(step), case .entry(let entry, _) = step, entry.kind == .directory else { return }
      do throws(Errno) { levels.append((local, name, try names(local, in: item))) } catch {
        _ = try body(.skipped(path: name.bytes, reason: "\(error)"))
      }
    }
    try enter(item.local, item.name)
    while let level = levels.last {
      guard let next = level.rest.last else {
        levels.removeLast()
        continue
      }
      levels[levels.count - 1].rest.removeLast()
      if let local = try? level.local.appending(next), let name = try? level.name.appending(next) {
        try enter(local, name)
      } else {
        _ = try body(.skipped(path: level.name.bytes + [UInt8(ascii: "/")] + next, reason: "the path is too long"))
      }
    }
  }

  private func names(_ path: Path, in item: Item) throws(Errno) -> [[UInt8]] {
    try item.parent.names(in: path, limit: Limits.Transfer.entries).reversed()
  }

  /// The present state of an entry.
  private func step(_ index: Int, _ local: Path, _ name: Path) -> Step {
    let parent = items[index].parent
    func skipped(_ reason: String) -> Step { .skipped(path: name.bytes, reason: reason) }
    do throws(Errno) {
      let attributes = try parent.attributes(at: local)
      func entry(_ kind: TransferEntry.Kind) -> Step {
        let entry = TransferEntry(kind, mode: attributes.mode, modified: attributes.modified, path: name)
        return .entry(entry, Place(item: index, path: local, attributes: attributes))
      }
      switch attributes.type {
      case _ where PartName.isIn(name):
        return skipped("part of an interrupted transfer")
      case .directory:
        return try parent.isBarred(local) ? skipped("mounted by p2pfs") : entry(.directory)
      case .regular: return entry(.file(size: attributes.size))
      case .symbolicLink:
        let target = try parent.target(ofLinkAt: local)
        return LinkTarget.staysInside(target, of: name)
          ? entry(.link(target: target)) : skipped("a symbolic link that leads out of what is sent")
      case .fifo: return skipped("a FIFO")
      case .socket: return skipped("a socket")
      case .blockDevice, .characterDevice: return skipped("a device")
      }
    } catch {
      return skipped("\(error)")
    }
  }

  /// Counts the present files as long as `isWanted` returns true; it is called for each entry.
  /// - Throws: if there are more entries than one transfer may have, or `isWanted` returned false.
  func count(while isWanted: () -> Bool = { true }) throws(TransferFailure) -> Counted {
    var counted = Counted(names: items.map(\.name.bytes))
    try walk { step throws(TransferFailure) in
      guard isWanted() else { throw .channel(.cancelled) }
      if case .entry(let entry, _) = step { try counted.add(entry) }
      return true
    }
    return counted
  }

  /// Opens a file of the walk.
  func open(_ place: Place) throws(Errno) -> Descriptor { try items[place.item].parent.open(place.path, [.read]) }

  /// Whether an open file is the announced one, and ends at its size. Files of the kernel, as in /proc, have a size of
  /// 0 and contents all the same.
  func isAnnounced(_ file: borrowing Descriptor, _ place: Place) throws(Errno) -> Bool {
    guard try isUnchanged(file, place) else { return false }
    return try FileContents.isEnd(file.rawValue, place.attributes.size)
  }

  /// Whether an open file is still as it was announced.
  func isUnchanged(_ file: borrowing Descriptor, _ place: Place) throws(Errno) -> Bool {
    let now = try items[place.item].parent.attributes(of: file)
    // Not the change time: a new link or mode leaves the contents unchanged.
    return now.size == place.attributes.size && now.modified == place.attributes.modified
      && now.identity == place.attributes.identity
  }
}

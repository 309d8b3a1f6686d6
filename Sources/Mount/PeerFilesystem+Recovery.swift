import Core
import FUSE
import Glibc
import Logging
import Session
import Synchronization
import SystemPackage
import Wire

/// What happens when the peer's program was started again: open files are opened again, before anything else is asked.
///
/// Each is opened by its name of now, and must be the same file; the peer then answers what is asked of its handle as
/// before. If it is another file, everything asked of it ends with ESTALE, and if there is none, or it was unlinked,
/// with EIO: it is the peer that remembers that.
extension PeerFilesystem {
  /// Has `restarted` called. Once, before the kernel asks for anything.
  func watchRestarts() { requester.onRestart { [weak self] in self?.restarted($0) ?? [] } }

  /// The requests that put right what the restart of the peer's program has broken.
  func restarted(_ restart: PeerRestart) -> [RecoveryRequest] {
    let (files, losses, directories) = state.withLock { state in
      let files = state.tree.open.map { file in (file, state.pathForReopening(file)) }
      guard restart.isOtherMachine else { return (files, [[UInt8]](), [Path]()) }
      let losses = state.loseUnsynced()
      return (files, losses, state.unsynced.directories(state.tree))
    }
    if restart.isOtherMachine {
      log.warning("the peer's computer was started again: what it had not written to its disk may be lost")
      for loss in losses { log.warning("perhaps not all of this file is written: \(PeerFilesystem.text(loss))") }
    }
    return files.map(reopening) + directories.map(looking)
  }

  private func reopening(_ file: OpenFile, _ path: Path) -> RecoveryRequest {
    let options = file.options.subtracting([.truncate, .exclusive])
    let request = Request.reopen(file.handle, path, options, file.node.attributes.identity)
    return RecoveryRequest(request.encoded()) { [log] reply in
      guard let error = reply.error else { return }
      let name = path.isRoot ? "a removed file" : PeerFilesystem.text(path.bytes)
      log.warning("\(name) was open and cannot be opened again, since the peer's program was started again: \(error)")
    }
  }

  /// Names a directory that was made and has vanished.
  private func looking(_ path: Path) -> RecoveryRequest {
    RecoveryRequest(Request.lookup(.path(path)).encoded()) { [log] reply in
      guard reply.error == .noSuchFileOrDirectory else { return }
      log.warning("this directory was made and is lost: \(PeerFilesystem.text(path.bytes))")
    }
  }

  /// A name for the log, without anything that a terminal would obey.
  private static func text(_ name: [UInt8]) -> String {
    String(decoding: name, as: UTF8.self).unicodeScalars.map { scalar in
      scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value)
        ? "\\u{\(String(scalar.value, radix: 16))}" : "\(scalar)"
    }.joined()
  }
}

extension PeerFilesystem.State {
  /// Where the peer finds an open file; the root stands for one that has no name any more.
  fileprivate func pathForReopening(_ file: OpenFile) -> Path { (try? tree.path(of: file.node)) ?? .root }

  /// Has each fsync and close of a file with bytes that were not synced say so.
  /// - Returns: the paths of these files, and of those that were closed.
  fileprivate mutating func loseUnsynced() -> [[UInt8]] {
    var lost: [[UInt8]] = []
    var seen = Set<UInt64>()
    for file in tree.open where file.node.isUnsynced {
      file.error = file.error ?? .ioError
      if seen.insert(file.node.id).inserted, let path = try? tree.path(of: file.node) { lost.append(path.bytes) }
    }
    for file in tree.open { file.node.isUnsynced = false }
    return lost + unsynced.takeFiles(tree).map(\.bytes)
  }
}

/// What was made, is not open, and was not synced: lost if the peer's machine is started again. The newest
/// `Limits.Mount.unsynced` of each kind. A plain value.
struct Unsynced {
  private struct Entry {
    /// As long as the kernel knows it, its path follows its renames.
    weak var node: Node?
    let id: UInt64
    let path: Path
  }

  private var closed: [Entry] = []
  private var made: [Entry] = []

  /// A file was closed with bytes that no fsync has covered.
  mutating func closed(_ node: Node, _ path: Path) {
    Unsynced.add(Entry(node: node, id: node.id, path: path), to: &closed)
  }

  /// A directory was made.
  mutating func made(_ node: Node, _ path: Path) { Unsynced.add(Entry(node: node, id: node.id, path: path), to: &made) }

  /// The disk has all of a file, or of a directory, whose entries are then certain.
  mutating func synced(_ node: Node) {
    closed.removeAll { $0.id == node.id }
    made.removeAll { $0.id == node.id || $0.node?.parent === node }
  }

  /// The paths of the files, which are told of once.
  fileprivate mutating func takeFiles(_ tree: NodeTree) -> [Path] {
    defer { closed = [] }
    return closed.compactMap { Unsynced.path($0, tree) }
  }

  /// The paths of the directories.
  fileprivate func directories(_ tree: NodeTree) -> [Path] { made.compactMap { Unsynced.path($0, tree) } }

  private static func add(_ entry: Entry, to list: inout [Entry]) {
    list.removeAll { $0.id == entry.id }
    list.append(entry)
    if list.count > Limits.Mount.unsynced { list.removeFirst(list.count - Limits.Mount.unsynced) }
  }

  private static func path(_ entry: Entry, _ tree: NodeTree) -> Path? {
    guard let node = entry.node else { return entry.path }
    // Removed since.
    guard !node.isUnlinked else { return nil }
    return (try? tree.path(of: node)) ?? entry.path
  }
}

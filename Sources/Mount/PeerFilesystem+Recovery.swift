import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// What happens when the peer's program was started again: open files are opened again, before anything else is asked.
///
/// Each is opened by its name of now, and must be the same file; the peer then answers what is asked of its handle as
/// before. If its name is gone, or another file's, everything asked of it ends with ESTALE, and if it was unlinked, with
/// EIO: it is the peer that remembers that.
extension PeerFilesystem {
  /// Has `restarted` called. Once, before the kernel asks for anything.
  func watchRestarts() { requester.onRestart { [weak self] in self?.restarted($0) ?? [] } }

  /// The requests that put right what the restart of the peer's program has broken.
  func restarted(_ restart: PeerRestart) -> [RecoveryRequest] {
    let (files, losses, directories) = locked { state in
      let files = state.openFiles.map { file in (file, state.pathForReopening(file)) }
      guard restart.isOtherMachine else { return (files, [[UInt8]](), [Path]()) }
      let losses = state.loseUnsynced()
      return (files, losses, state.unsynced.directories(state.tree))
    }
    if restart.isOtherMachine {
      log.warning("the peer's computer was started again: what it had not written to its disk may be lost")
      for loss in losses {
        log.warning("perhaps not all of this file is written: \(String(decoding: loss, as: UTF8.self).escaped)")
      }
    }
    return files.map(reopening) + directories.map(looking) + [lookingAtRoot()]
  }

  private func reopening(_ file: OpenFile, _ path: Path) -> RecoveryRequest {
    let options = file.options.subtracting([.truncate, .exclusive])
    let request = Request.reopen(file.handle, path, options, file.node.attributes.identity)
    return RecoveryRequest(request.encoded()) { [self] reply in
      locked { _ in file.lost = reply.error }
      guard let error = reply.error else { return }
      let name = path.isRoot ? "a removed file" : String(decoding: path.bytes, as: UTF8.self).escaped
      log.warning("\(name) was open and cannot be opened again, since the peer's program was started again: \(error)")
    }
  }

  /// Takes what is exported now for the root. It may be another directory, from a backup, or have another number, since the
  /// numbers of many a filesystem's devices are given out anew when they are mounted.
  private func lookingAtRoot() -> RecoveryRequest {
    let asked = Instant.now
    let base = locked { $0.tree.base }
    return RecoveryRequest(Request.lookup(.path(base)).encoded()) { [self] reply in
      if case .success(let attributes) = PeerFilesystem.attributes(in: reply) { adopt(root: attributes, asked: asked) }
    }
  }

  /// Takes the peer's word of the root.
  func adopt(root attributes: Attributes, asked: Instant) {
    guard attributes.type == .directory else { return }
    let (root, names) = locked { state -> (UInt64, [[UInt8]]?) in
      let root = state.tree.root
      guard RemoteFile(attributes) != root.remote else { return (root.id, nil) }
      root.dropListing(&state)
      return (root.id, state.tree.adopt(root: attributes, asked: asked))
    }
    guard let names else { return }
    log.notice("the peer exports another directory under this name, or on another device, than before")
    for name in names { session?.invalidate(entry: name, in: root) }
    session?.invalidate(attributesOf: root)
  }

  /// Names a directory that was made and has vanished.
  private func looking(_ path: Path) -> RecoveryRequest {
    RecoveryRequest(Request.lookup(.path(path)).encoded()) { [log] reply in
      guard reply.error == .noSuchFileOrDirectory else { return }
      log.warning("this directory was made and is lost: \(String(decoding: path.bytes, as: UTF8.self).escaped)")
    }
  }
}

extension PeerFilesystem.State {
  /// All that the peer has open for us: what programs have closed waits for its writes, and some is opened before the
  /// kernel asks for it.
  fileprivate var openFiles: [OpenFile] {
    var files: [Handle: OpenFile] = [:]
    for file in tree.open + self.files.values + pinned.values.map(\.file) { files[file.handle] = file }
    return Array(files.values)
  }

  /// Where the peer finds an open file; the root stands for one that has no name any more.
  fileprivate func pathForReopening(_ file: OpenFile) -> Path { (try? tree.path(of: file.node)) ?? .root }

  /// Has each fsync and close of a file with bytes that were not synced say so.
  /// - Returns: the paths of these files, and of those that were closed.
  fileprivate mutating func loseUnsynced() -> [[UInt8]] {
    var lost: [[UInt8]] = []
    var seen = Set<UInt64>()
    for file in tree.open where file.node.isUnsynced {
      _ = file.failure.note(.ioError)
      if seen.insert(file.node.id).inserted, let path = try? tree.path(of: file.node) { lost.append(path.bytes) }
    }
    for file in tree.open { file.node.endSync(file.node.acknowledged) }
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

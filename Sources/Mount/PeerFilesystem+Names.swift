import Core
import FUSE
import Glibc
import Session
import Synchronization
import SystemPackage
import Wire

/// What makes, removes and moves names.
extension PeerFilesystem {
  func mknod(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32) {
    // As mknod(2) has it, no type means a regular file.
    let mode = mode & S_IFMT == 0 ? mode | S_IFREG : mode
    guard mode & S_IFMT == S_IFREG || mode & S_IFMT == S_IFIFO else { return _ = request.fail(.notPermitted) }
    make(request, parent, name) { .mknod($0, mode: mode & 0o171777) }
  }

  func mkdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32) {
    make(request, parent, name) { .mkdir($0, mode: mode & 0o1777) }
  }

  func symlink(
    _ request: consuming FUSERequest, target: UnsafeRawBufferPointer, parent: UInt64, name: UnsafeRawBufferPointer
  ) {
    let target = Array(target)
    guard target.count <= Limits.Wire.linkTarget else { return _ = request.fail(.fileNameTooLong) }
    make(request, parent, name) { .symlink($0, target: target) }
  }

  func link(_ request: consuming FUSERequest, node: UInt64, newParent: UInt64, newName: UnsafeRawBufferPointer) {
    let existing = state.withLock { state -> Result<(Node, Target), Errno> in
      guard let node = state.tree[node] else { return .failure(.staleNFSFileHandle) }
      return state.target(node, nil).map { (node, $0) }
    }
    switch existing {
    case .failure(let error): request.fail(error)
    case .success(let (node, target)):
      make(request, newParent, newName, linked: node) { .link(existing: target, $0) }
    }
  }

  /// Makes the entry `name` by a request that is answered with its attributes. `linked` gets a further name.
  private func make(
    _ request: consuming FUSERequest, _ parent: UInt64, _ name: UnsafeRawBufferPointer, linked: Node? = nil,
    _ operation: (Path) -> Request
  ) {
    let name = Array(name)
    switch begin(parent, [name]) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, paths)):
      let pending = wait(request, .change)
      send(operation(paths[0])) { [self] reply in
        let result = PeerFilesystem.attributes(in: reply)
        let (entry, others) = state.withLock { state -> (FUSEEntry?, [UInt64]) in
          let now = Instant.now
          directory.endChange(at: now)
          linked?.changed = now
          guard case .success(let attributes) = result else {
            directory.dropListing(&state)
            return (nil, [])
          }
          let asked = Instant.now
          let node = state.tree.enter(name, in: directory, attributes, asked: asked)
          directory.listing?.set(name, attributes, asked: asked)
          if attributes.type == .directory {
            cache(DirectoryListing(asked: asked), of: node, &state)
            if linked == nil { state.unsynced.made(node, paths[0]) }
          }
          let others = linked == nil ? [] : touchLinks(of: node, &state, now: now)
          return (self.entry(for: node, now: .now, nameValidity: options.entryTimeout), others)
        }
        invalidate(attributesOf: others) { [self] in finish(pending, entry, result) }
      }
    }
  }

  private func finish(_ pending: PendingRequest, _ entry: FUSEEntry?, _ result: Result<Attributes, Errno>) {
    let request = pending.take()
    if let request {
      if case .failure(let error) = result { return _ = request.fail(error) }
      if let entry, !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    } else if let entry {
      undo(lookupOf: entry.node)
    }
  }

  func unlink(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    remove(request, parent, name) { .unlink($0) }
  }

  func rmdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    remove(request, parent, name) { .rmdir($0) }
  }

  private func remove(
    _ request: consuming FUSERequest, _ parent: UInt64, _ name: UnsafeRawBufferPointer, _ operation: (Path) -> Request
  ) {
    let name = Array(name)
    switch begin(parent, [name]) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, paths)):
      let pending = wait(request, .change)
      send(operation(paths[0])) { [self] reply in
        let others = state.withLock { state -> [UInt64] in
          let now = Instant.now
          directory.endChange(at: now)
          if let error = reply.error {
            if error == .noSuchFileOrDirectory { directory.dropListing(&state) }
            return []
          }
          directory.listing?.remove(name)
          guard let node = directory.children[name] else { return [] }
          node.changed = now
          node.dropListing(&state)
          let others = touchLinks(of: node, &state, now: now)
          state.tree.unlink(name, in: directory)
          return others
        }
        invalidate(attributesOf: others) {
          if let error = reply.error { return pending.fail(error) }
          if let request = pending.take() { request.succeed() }
        }
      }
    }
  }

  func rename(
    _ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, newParent: UInt64,
    newName: UnsafeRawBufferPointer, flags: UInt32
  ) {
    let (name, newName) = (Array(name), Array(newName))
    let mode: RenameMode
    switch flags {
    case 0: mode = .replace
    case 1: mode = .noReplace
    case 2: mode = .exchange
    default: return _ = request.fail(.invalidArgument)
    }
    let found = state.withLock { state -> Result<(Node, Node, Path, Path), Errno> in
      guard let from = state.tree[parent], let to = state.tree[newParent] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        let paths = (try state.tree.path(of: name, in: from), try state.tree.path(of: newName, in: to))
        from.beginChange(at: .now)
        to.beginChange(at: .now)
        return .success((from, to, paths.0, paths.1))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let (from, to, path, newPath)):
      let pending = wait(request, .change)
      send(.rename(path, to: newPath, mode)) { [self] reply in
        let others = state.withLock { state -> [UInt64] in
          from.endChange(at: .now)
          to.endChange(at: .now)
          if reply.error == nil {
            return renamed(name, in: from, to: newName, in: to, isExchange: mode == .exchange, &state)
          }
          from.dropListing(&state)
          to.dropListing(&state)
          return []
        }
        invalidate(attributesOf: others) {
          if let error = reply.error { return pending.fail(error) }
          if let request = pending.take() { request.succeed() }
        }
      }
    }
  }

  /// Follows a rename in what is known. Under the lock.
  private func renamed(
    _ name: [UInt8], in from: Node, to newName: [UInt8], in to: Node, isExchange: Bool, _ state: inout State
  ) -> [UInt64] {
    let now = Instant.now
    if let one = from.children[name], let other = to.children[newName], one !== other, !isExchange,
      one.remote == other.remote
    {
      // Two links to one file: rename(2) does nothing.
      return []
    }
    let (entry, otherEntry) = (from.listing?[name], to.listing?[newName])
    from.children[name]?.changed = now
    to.children[newName]?.changed = now
    var others: [UInt64] = []
    if isExchange {
      from.listing?.set(name, otherEntry?.attributes, asked: now)
      from.listing?.forgetAttributes(of: name)
      state.tree.exchange(name, in: from, with: newName, in: to)
    } else {
      if let replaced = to.children[newName] {
        others = touchLinks(of: replaced, &state, now: now)
        replaced.dropListing(&state)
      }
      from.listing?.remove(name)
      state.tree.move(name, in: from, to: newName, in: to)
    }
    // The change time is another now, so the attributes must be asked for.
    to.listing?.set(newName, nil, asked: entry?.asked ?? now)
    return others
  }

  /// Begins a change in a directory.
  /// - Returns: the directory, and the paths of the names in it.
  func begin(_ parent: UInt64, _ names: [[UInt8]]) -> Result<(Node, [Path]), Errno> {
    state.withLock { state in
      guard let directory = state.tree[parent] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        var paths: [Path] = []
        for name in names { paths.append(try state.tree.path(of: name, in: directory)) }
        directory.beginChange(at: .now)
        return .success((directory, paths))
      } catch {
        return .failure(error == .staleNFSFileHandle ? .noSuchFileOrDirectory : error)
      }
    }
  }
}

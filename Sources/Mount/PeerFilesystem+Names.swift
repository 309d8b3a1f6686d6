import P2PFSCore
import DequeModule
import P2PFSFUSE
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// What makes, removes and moves names.
extension PeerFilesystem {
  func mknod(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32) {
    // As mknod(2) has it, no type means a regular file.
    let mode = mode & S_IFMT == 0 ? mode | S_IFREG : mode
    guard [S_IFREG, S_IFIFO, S_IFSOCK].contains(mode & S_IFMT) else { return _ = request.fail(.notPermitted) }
    let umask = request.umask
    let question = Question(kind: .mknod, node: parent, name: Array(name), detail: [mode])
    make(request, question) { .mknod($0, mode: mode & 0o171777, umask: umask) }
  }

  func mkdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32) {
    let umask = request.umask
    let question = Question(kind: .mkdir, node: parent, name: Array(name), detail: [mode])
    make(request, question) { .mkdir($0, mode: mode & 0o1777, umask: umask) }
  }

  func symlink(
    _ request: consuming FUSERequest, target: UnsafeRawBufferPointer, parent: UInt64, name: UnsafeRawBufferPointer
  ) {
    let target = Array(target)
    guard target.count <= Limits.Wire.linkTarget else { return _ = request.fail(.fileNameTooLong) }
    let question = Question(kind: .symlink, node: parent, name: Array(name), otherName: target)
    make(request, question) { .symlink($0, target: target) }
  }

  func link(_ request: consuming FUSERequest, node: UInt64, newParent: UInt64, newName: UnsafeRawBufferPointer) {
    let question = Question(kind: .link, node: newParent, name: Array(newName), otherNode: node)
    let existing = locked { state -> Result<(Node, Target), Errno> in
      guard let node = state.tree[node] else { return .failure(.staleNFSFileHandle) }
      return state.target(node, nil).map { (node, $0) }
    }
    switch existing {
    case .failure(let error):
      let process = request.process
      request.fail(tried(error, by: process))
    case .success(let (node, target)):
      make(request, question, linked: node) { .link(existing: target, $0) }
    }
  }

  /// Makes the entry that the question names by a request that is answered with its attributes. `linked` gets a further
  /// name.
  private func make(
    _ request: consuming FUSERequest, _ question: Question, linked: Node? = nil, _ operation: (Place) -> Request
  ) {
    guard let request = rejoin(request, question) else { return }
    let name = question.name
    let thread = request.process
    switch begin(question.node, name, linked) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, place)):
      let before = NameBefore(directory: question.node, name: name, node: nil)
      // bind(2), which makes sockets, does not ask again.
      let isSocket = question.kind == .mknod && question.detail.first.map { $0 & S_IFMT == S_IFSOCK } ?? false
      let pending = wait(request, relief: isSocket ? .refused : retry(question, [before], of: thread))
      send(operation(place)) { [self] reply in
        let result = PeerFilesystem.attributes(in: reply)
        let entry = locked { state -> FUSEEntry? in
          let now = Instant.now
          directory.endChange(at: now)
          linked?.endChange(at: now)
          if let linked { state.noteChange(ofLinks: linked, now) }
          guard case .success(let attributes) = result else {
            directory.dropListing(&state)
            return nil
          }
          let asked = Instant.now
          let node = state.tree.enter(name, in: directory, attributes, asked: asked)
          directory.listing?.set(name, attributes, asked: asked)
          if question.kind == .symlink { state.remember(ownLink: node.remote, question.otherName) }
          if attributes.type == .directory {
            cache(CachedListing(asked: asked), of: node, &state)
            state.unsynced.made(node, place.path)
          }
          return self.entry(for: node, as: name, in: directory, now: .now, nameValidity: options.entryTimeout)
        }
        finish(pending, entry, result, directory, linked)
      }
    }
  }

  private func finish(
    _ pending: PendingRequest, _ entry: FUSEEntry?, _ result: Result<Attributes, Errno>, _ directory: Node,
    _ linked: Node?
  ) {
    guard let entry else {
      if case .failure(let error) = result { fail(pending, error, in: [directory] + (linked.map { [$0] } ?? [])) }
      return
    }
    pending.answer { [self] request in
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    } else: { [self] in
      undo(lookupOf: entry.node)
    }
  }

  /// Answers a change of names with an error. If one of the directories, or of the files, is another one at the peer by now
  /// (`Place`), the kernel is to walk the path to it once more, which asks for each step; a program that holds the
  /// directory is told ESTALE. Nothing was changed.
  func fail(_ pending: PendingRequest, _ error: Errno, in places: [Node]) {
    if error == .staleNFSFileHandle { doubt(places) }
    pending.fail(error)
  }

  /// What is known of the ways to these is not believed any more.
  func doubt(_ places: [Node]) {
    locked { state in
      for place in places {
        for directory in state.tree.doubt(place) { directory.dropListing(&state) }
      }
    }
  }

  func unlink(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    remove(request, Question(kind: .unlink, node: parent, name: Array(name))) { .unlink($0) }
  }

  func rmdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    remove(request, Question(kind: .rmdir, node: parent, name: Array(name))) { .rmdir($0) }
  }

  private func remove(
    _ request: consuming FUSERequest, _ question: Question, _ operation: (Place) -> Request
  ) {
    guard let request = rejoin(request, question) else { return }
    let name = question.name
    let thread = request.process
    switch begin(question.node, name) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, place)):
      let before = locked { _ in directory.before(name) }
      let pending = wait(request, relief: before.node == nil ? .refused : retry(question, [before], of: thread))
      send(operation(place)) { [self] reply in
        locked { state in
          directory.endChange(at: .now)
          if let error = reply.error {
            if error == .noSuchFileOrDirectory { directory.dropListing(&state) }
            return
          }
          directory.listing?.remove(name)
          guard let node = directory.children[name] else { return }
          node.touch(at: .now)
          node.dropListing(&state)
          state.noteChange(ofLinks: node, .now)
          state.tree.unlink(name, in: directory)
        }
        if let error = reply.error { return fail(pending, error, in: [directory]) }
        pending.answer { request in request.succeed() }
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
    let question = Question(
      kind: .rename, node: parent, name: name, otherNode: newParent, otherName: newName, detail: [flags])
    guard let request = rejoin(request, question) else { return }
    let thread = request.process
    let found = locked { state -> Result<(Node, Node, Place, Place), Errno> in
      guard let from = state.tree[parent], let to = state.tree[newParent] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        let places = (try state.tree.place(of: name, in: from), try state.tree.place(of: newName, in: to))
        from.beginChange(at: .now)
        to.beginChange(at: .now)
        return .success((from, to, places.0, places.1))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let (from, to, place, newPlace)):
      let before = locked { _ in [from.before(name), to.before(newName)] }
      let pending = wait(request, relief: before[0].node == nil ? .refused : retry(question, before, of: thread))
      send(.rename(place, to: newPlace, mode)) { [self] reply in
        locked { state in
          from.endChange(at: .now)
          to.endChange(at: .now)
          if reply.error == nil {
            return renamed(name, in: from, to: newName, in: to, isExchange: mode == .exchange, &state)
          }
          from.dropListing(&state)
          to.dropListing(&state)
        }
        if let error = reply.error { return fail(pending, error, in: [from, to]) }
        pending.answer { request in request.succeed() }
      }
    }
  }

  /// Follows a rename in what is known. Under the lock.
  private func renamed(
    _ name: [UInt8], in from: Node, to newName: [UInt8], in to: Node, isExchange: Bool, _ state: inout State
  ) {
    let now = Instant.now
    // Two names of one file: rename(2) does nothing.
    if let one = from.children[name], one === to.children[newName], !isExchange { return }
    let (entry, otherEntry) = (from.listing?[name], to.listing?[newName])
    for node in [from.children[name], to.children[newName]] {
      guard let node else { continue }
      node.touch(at: now)
      state.noteChange(ofLinks: node, now)
    }
    if isExchange {
      from.listing?.set(name, otherEntry?.attributes, asked: now)
      from.listing?.forgetAttributes(of: name)
      state.tree.exchange(name, in: from, with: newName, in: to)
    } else {
      to.children[newName]?.dropListing(&state)
      from.listing?.remove(name)
      state.tree.move(name, in: from, to: newName, in: to)
    }
    // The change time is another now, so the attributes must be asked for.
    to.listing?.set(newName, nil, asked: entry?.asked ?? now)
  }

  /// Begins a change of a name in a directory, and of a file.
  /// - Returns: the directory, and the place of the name.
  func begin(_ parent: UInt64, _ name: [UInt8], _ file: Node? = nil) -> Result<(Node, Place), Errno> {
    locked { state in
      guard let directory = state.tree[parent] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        let place = try state.tree.place(of: name, in: directory)
        directory.beginChange(at: .now)
        file?.beginChange(at: .now)
        return .success((directory, place))
      } catch {
        // In a directory that was removed nothing can be made.
        let isGone = error == .staleNFSFileHandle && !state.tree.isDisplaced(directory)
        return .failure(isGone ? .noSuchFileOrDirectory : error)
      }
    }
  }
}

extension Node {
  /// What a name in this directory stands for now. Under the lock.
  func before(_ name: [UInt8]) -> NameBefore { NameBefore(directory: id, name: name, node: children[name]?.id) }
}

extension PeerFilesystem.State {
  /// A file was changed from here: what listings said of its other names until now is not believed any more.
  mutating func noteChange(ofLinks node: Node, _ now: Instant) {
    for name in node.names { name.parent.listing?.forgetAttributes(of: name.bytes) }
    guard node.attributes.links > 1, !node.isDirectory else { return }
    if changedLinks.count >= Limits.Mount.changedLinks {
      changedLinks = changedLinks.filter { now.seconds(since: $0.value) < validity }
      // Then what all listings say is in doubt.
      if changedLinks.count >= Limits.Mount.changedLinks {
        changedLinks = [:]
        for id in listed { tree[id]?.listing = nil }
        listed = []
        cachedEntries = 0
      }
    }
    changedLinks[node.remote] = now
  }

  /// Whether what a listing said of a file, asked for at `asked`, was not changed from here since.
  func believes(_ attributes: Attributes, asked: Instant) -> Bool {
    let remote = RemoteFile(attributes)
    if let node = tree.node(remote), !node.isQuiet(since: asked) { return false }
    return changedLinks[remote].map { $0 < asked } ?? true
  }

  /// A symbolic link was made through this mount.
  mutating func remember(ownLink: RemoteFile, _ target: [UInt8]) {
    if ownLinks.count >= Limits.Mount.ownLinks { ownLinks.remove(at: ownLinks.startIndex) }
    ownLinks[ownLink] = target
  }
}

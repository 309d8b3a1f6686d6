import P2PFSCore
import P2PFSFUSE
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Opening and closing files.
///
/// What opening finds may differ from what the kernel believes: the name stands for another file, or the file has
/// another size. An answer cannot tell it so, and must not wait for a notification that does. So it is answered ESTALE,
/// on which the kernel looks the name up again and opens what it is told then (LOOKUP_REVAL in fs/namei.c); and what was
/// opened is kept for that (`PinnedFile`), so that it succeeds however often the file is replaced.
extension PeerFilesystem {
  func open(_ request: consuming FUSERequest, node id: UInt64, flags: Int32) {
    let options = OpenOptions(flags: flags)
    let process = request.process
    let (found, pinned) = locked { state -> (Node?, PinnedFile?) in
      state.retries[process] = nil
      return (state.tree[id], state.takePinned(PinKey(node: id, process: process), options, .now))
    }
    closeLatePins()
    guard let node = found else {
      if let pinned { close(pinned.file) }
      return _ = request.fail(.staleNFSFileHandle)
    }
    if let pinned { return use(pinned, request) }
    let pending = wait(request)
    // What was written is to be seen by this one, whoever wrote it.
    afterWrites(of: node) { [self] in askOpen(pending, node, options) }
  }

  private func askOpen(_ pending: PendingRequest, _ node: Node, _ options: OpenOptions) {
    let file = OpenFile(handle: requester.newHandle(), node: node, options: options)
    let asked = Instant.now
    let found = locked { state -> Result<(Target, UInt64?, UInt32), Errno> in
      let target: Target
      switch state.targetForOpening(node, options) {
      case .failure(let error): return .failure(error)
      case .success(let known): target = known
      }
      if options.contains(.truncate) {
        node.beginChange(at: asked)
        node.cachedVersion = nil
      }
      guard options == .read, !node.isReadThrough else { return .success((target, nil, 0)) }
      return .success(
        (target, file.stream.expectStart(Limits.Mount.prefetch, now: asked).segment, UInt32(Limits.Mount.prefetch)))
    }
    switch found {
    case .failure(let error):
      // Its last name went a moment ago.
      if error == .staleNFSFileHandle { expectRetry(pending.process, nil, options) }
      pending.fail(error)
    case .success((let target, let segment, let prefetch)):
      send(.open(file.handle, target, options, prefetch: prefetch)) { [self] reply in
        if let segment, locked({ _ in file.isAnswered }) {
          return receive(reply, file, segment, opening: true)
        }
        opened(pending, file, target, reply, segment, asked: asked)
      }
    }
  }

  /// The first reply to an open.
  private func opened(
    _ pending: PendingRequest, _ file: OpenFile, _ target: Target, _ reply: Reply, _ segment: UInt64?, asked: Instant
  ) {
    let node = file.node
    let result = PeerFilesystem.attributes(in: reply)
    locked { _ in
      file.isAnswered = true
      if file.options.contains(.truncate) { node.endChange(at: .now) }
    }
    let learned = file.options.contains(.truncate) ? Instant.now : asked
    switch result {
    case .failure(.badFileDescriptor):
      // The handle that it was to be opened by was closed meanwhile, and it has no name.
      expectRetry(pending.process, nil, file.options)
      pending.fail(.staleNFSFileHandle)
    case .failure(let error):
      let isAnother = error == .staleNFSFileHandle && file.options.contains(.truncate)
      guard error == .noSuchFileOrDirectory || isAnother, case .path(let place) = target else {
        return fail(pending, afterTimeout(error), in: locked { _ in node.parent.map { [$0] } ?? [] })
      }
      let name = locked { _ in node.names.last }
      if isAnother { doubt([node]) }
      if forgetName(of: node, place.path, isTaken: isAnother) { return askOpen(pending, node, file.options) }
      // Gone, or made anew since: the kernel looks it up again, and makes it if that was wanted.
      expectRetry(pending.process, name, file.options)
      pending.fail(.staleNFSFileHandle)
    case .success(let attributes):
      if RemoteFile(attributes) != node.remote {
        // Another file has the name now: it is open, for when the kernel has learned of it.
        let name = locked { _ in node.names.last }
        guard let name, case .path = target else {
          // Another thread has learned of it first: the next lookup of this one opens what is there.
          send(.close(file.handle)) { _ in }
          expectRetry(pending.process, nil, file.options)
          return pending.fail(.staleNFSFileHandle)
        }
        pin(file.handle, file.options, attributes, name.bytes, in: name.parent, for: pending.process, asked: learned)
        expectRetry(pending.process, name, file.options)
        return pending.fail(.staleNFSFileHandle)
      }
      let opened = PinnedFile(file: file, attributes: attributes, asked: learned, until: learned)
      let isMisjudged = locked { state -> Bool in
        // When the kernel truncates it makes the size 0 by itself.
        let misjudges =
          node.toldSize.until > .now && node.toldSize.size != attributes.size && !node.isUnlinked
          && !file.options.contains(.truncate)
        state.tree.learn(attributes, of: node, asked: learned)
        node.noteInListings(node.attributes, asked: node.asked)
        state.admit(file)
        return misjudges
      }
      if let segment { receive(nil, file, segment, isLast: reply.isLast) }
      if isMisjudged, let name = locked({ _ in node.names.last }) {
        // The kernel would read up to the size that it remembers.
        keep(opened, on: node.id, for: pending.process)
        expectRetry(pending.process, name, file.options)
        // For an open without a name (/proc/self/fd), which is not looked up.
        session?.invalidate(attributesOf: node.id)
        return pending.fail(.staleNFSFileHandle)
      }
      guard let request = pending.take() else { return close(file) }
      use(opened, request)
    }
  }

  /// Answers an open with a file that is open.
  private func use(_ opened: PinnedFile, _ request: consuming FUSERequest) {
    let file = opened.file
    let node = file.node
    let keepsCache = locked { state -> Bool in
      if file.options.contains(.truncate) {
        node.toldSize.until = Instant(nanoseconds: 0)
        node.cachedVersion = nil
        return false
      }
      let keepsCache = node.cachedVersion == opened.attributes.version && node.isKnown
      if !keepsCache { node.readSinceCached = 0 }
      // Of contents that may be changed without another version the next open keeps nothing.
      node.cachedVersion = node.isKnown && !opened.attributes.isRacy ? opened.attributes.version : nil
      return keepsCache
    }
    let answer = FUSEOpenFile(
      handle: file.handle.rawValue, isDirect: file.options.contains(.append), keepsCache: keepsCache,
      needsNoFlush: !file.options.contains(.write))
    if !request.reply(opened: answer) { close(file) }
  }

  // MARK: Files that are opened before the kernel asks

  /// Opens the file of a name for a thread that is going to open it.
  /// - Parameter completion: gets its attributes, or ENOENT; nil if it cannot be opened so.
  func openAhead(
    _ place: Place, _ name: [UInt8], in directory: Node, _ options: OpenOptions, for process: Int32,
    _ completion: @escaping @Sendable (Result<Attributes, Errno>?) -> Void
  ) {
    let handle = requester.newHandle()
    let asked = Instant.now
    send(.open(handle, .path(place), options, prefetch: 0)) { [self] reply in
      switch PeerFilesystem.attributes(in: reply) {
      case .failure(.noSuchFileOrDirectory): completion(.failure(.noSuchFileOrDirectory))
      case .failure: completion(nil)
      case .success(let attributes):
        pin(
          handle, options, attributes, name, in: directory, for: process,
          asked: options.contains(.truncate) ? .now : asked)
        completion(.success(attributes))
      }
    }
  }

  /// Keeps an open file for the kernel's next open of the name.
  private func pin(
    _ handle: Handle, _ options: OpenOptions, _ attributes: Attributes, _ name: [UInt8], in directory: Node,
    for process: Int32, asked: Instant
  ) {
    let opened = locked { state -> (PinnedFile, UInt64) in
      let node = state.tree.enter(name, in: directory, attributes, asked: asked)
      directory.listing?.set(ifThere: name, attributes, asked: asked)
      let file = OpenFile(handle: handle, node: node, options: options)
      file.isAnswered = true
      state.admit(file)
      return (PinnedFile(file: file, attributes: attributes, asked: asked, until: asked), node.id)
    }
    keep(opened.0, on: opened.1, for: process)
  }

  private func keep(_ opened: PinnedFile, on node: UInt64, for process: Int32) {
    let old = locked { state -> [OpenFile] in
      let pinned = PinnedFile(
        file: opened.file, attributes: opened.attributes, asked: opened.asked,
        until: .now.advanced(by: Limits.Mount.pinned))
      var old: [OpenFile] = []
      if let other = state.pinned.updateValue(pinned, forKey: PinKey(node: node, process: process)) {
        old.append(other.file)
      }
      if state.pinned.count > Limits.Mount.pins, let first = state.pinned.min(by: { $0.value.until < $1.value.until }) {
        state.pinned[first.key] = nil
        old.append(first.value.file)
      }
      return old
    }
    for file in old { close(file) }
  }

  private func expectRetry(_ process: Int32, _ name: Node.Name?, _ options: OpenOptions) {
    locked { state in
      let now = Instant.now
      if state.retries.count > Limits.Mount.pins { state.retries = state.retries.filter { now < $0.value.until } }
      state.detours.note(stale: process, now)
      state.retries[process] = OpenRetry(
        place: name.map { ($0.parent.id, $0.bytes) }, options: options, until: now.advanced(by: Limits.Mount.pinned))
    }
  }

  /// Closes the files that were opened for nobody.
  private func closeLatePins() {
    let late = locked { state -> [OpenFile] in
      guard !state.pinned.isEmpty else { return [] }
      let now = Instant.now
      let late = state.pinned.filter { $0.value.until < now }
      for key in late.keys { state.pinned[key] = nil }
      return late.values.map(\.file)
    }
    for file in late { close(file) }
  }

  // MARK: create

  func create(
    _ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32, flags: Int32
  ) {
    let name = Array(name)
    var options = OpenOptions(flags: flags)
    if flags & O_EXCL != 0 { options.insert(.exclusive) }
    let (process, umask) = (request.process, request.umask)
    let question = Question(kind: .create, node: parent, name: name, detail: [mode, UInt32(bitPattern: flags)])
    guard let request = rejoin(request, question) else { return }
    switch begin(parent, name) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, place)):
      locked { $0.retries[process] = nil }
      let before = NameBefore(directory: parent, name: name, node: nil)
      let pending = wait(request, relief: retry(question, [before], of: process))
      let handle = requester.newHandle()
      send(.create(handle, place, options, mode: mode & 0o1777, umask: umask)) { [self, options] reply in
        created(pending, handle, options, name, directory, PeerFilesystem.attributes(in: reply))
      }
    }
  }

  private func created(
    _ pending: PendingRequest, _ handle: Handle, _ options: OpenOptions, _ name: [UInt8], _ directory: Node,
    _ result: Result<Attributes, Errno>
  ) {
    let made = locked { state -> (FUSEEntry, OpenFile)? in
      directory.endChange(at: .now)
      guard case .success(let attributes) = result, attributes.type == .regular else {
        directory.dropListing(&state)
        return nil
      }
      let asked = Instant.now
      let node = state.tree.enter(name, in: directory, attributes, asked: asked)
      directory.listing?.set(name, attributes, asked: asked)
      let file = OpenFile(handle: handle, node: node, options: options.subtracting([.exclusive, .truncate]))
      file.isAnswered = true
      state.admit(file)
      node.cachedVersion = nil
      let entry = entry(for: node, as: name, in: directory, now: .now, nameValidity: self.options.entryTimeout)
      return (entry, file)
    }
    guard let (entry, file) = made else {
      if case .failure(let error) = result {
        fail(pending, afterTimeout(error), in: [directory])
      } else {
        send(.close(handle)) { _ in }
        pending.fail(.ioError)
      }
      return
    }
    let opened = FUSEOpenFile(handle: handle.rawValue, isDirect: options.contains(.append))
    let lost: @Sendable () -> Void = { [self] in
      close(file)
      undo(lookupOf: entry.node)
    }
    pending.answer({ request in if !request.reply(entry: entry, opened: opened) { lost() } }, else: lost)
  }
}

extension OpenOptions {
  /// The options that the flags of open(2) ask for.
  init(flags: Int32) {
    switch flags & O_ACCMODE {
    case O_WRONLY: self = .write
    case O_RDWR: self = [.read, .write]
    default: self = .read
    }
    if flags & O_APPEND != 0, contains(.write) { insert(.append) }
    if flags & O_TRUNC != 0 { insert(.truncate) }
  }
}

extension Node {
  /// Whether the kernel's page cache is likely to have the whole file: nothing need come along with an open.
  var isReadThrough: Bool {
    cachedVersion != nil && cachedVersion == attributes.version && readSinceCached >= attributes.size
  }
}

extension PeerFilesystem.State {
  /// How a request to open names a node. One that truncates means this very file: a name may stand for another one, which
  /// the kernel has not asked for. Any other takes what has the name in that directory, which the kernel is then told of.
  fileprivate func targetForOpening(_ node: Node, _ options: OpenOptions) -> Result<Target, Errno> {
    let target = target(node, nil)
    guard case .success(.path) = target, !options.contains(.truncate) else { return target }
    return target.map { known in (try? tree.place(ofNameOf: node)).map { .path($0) } ?? known }
  }

  /// A file is open from now on.
  mutating func admit(_ file: OpenFile) {
    files[file.handle.rawValue] = file
    file.stream.join(readAhead)
    file.node.files.append(file)
  }

  /// Takes the file that was opened for the kernel's open of a node, if it is open so.
  mutating func takePinned(_ key: PinKey, _ options: OpenOptions, _ now: Instant) -> PinnedFile? {
    guard let pinned = pinned[key], pinned.file.options == options, now < pinned.until else { return nil }
    self.pinned[key] = nil
    return pinned
  }
}

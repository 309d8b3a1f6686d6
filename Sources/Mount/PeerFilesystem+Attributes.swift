import Core
import FUSE
import Glibc
import Session
import Synchronization
import SystemPackage
import Wire

/// lookup, forget, getattr, setattr, readlink, statfs.
extension PeerFilesystem {
  func lookup(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    enum Step {
      case entry(FUSEEntry)
      case absent(Double)
      case ask(Node, Path)
      case fail(Errno)
    }
    guard name.count <= Limits.Wire.name else { return _ = request.fail(.fileNameTooLong) }
    let name = Array(name)
    let now = Instant.now
    let step = state.withLock { state -> Step in
      guard let directory = state.tree[parent] else { return .fail(.staleNFSFileHandle) }
      do throws(Errno) {
        if let listing = directory.listing, nameValidity(of: directory, listing, now) > 0 {
          let validity = nameValidity(of: directory, listing, now)
          guard let known = listing[name] else { return .absent(validity) }
          if let node = directory.children[name], node.validity(at: now, timeout: options.attributeTimeout) > 0 {
            return .entry(entry(for: node, now: now, nameValidity: validity))
          }
          if let attributes = known.attributes, now.seconds(since: known.asked) < options.attributeTimeout,
            directory.children[name].map({ $0.changed < known.asked && $0.changing == 0 && $0.writes.isIdle }) ?? true
          {
            let node = state.tree.enter(name, in: directory, attributes, asked: known.asked)
            return .entry(entry(for: node, now: now, nameValidity: validity))
          }
        } else if let node = directory.children[name] {
          let validity = min(
            node.validity(at: now, timeout: options.attributeTimeout),
            node.validity(at: now, timeout: options.entryTimeout))
          if validity > 0 { return .entry(entry(for: node, now: now, nameValidity: validity)) }
        }
        return .ask(directory, try state.tree.path(of: name, in: directory))
      } catch {
        return .fail(error)
      }
    }
    switch step {
    case .entry(let entry):
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    case .absent(let validity): request.reply(absentFor: validity)
    case .fail(let error): request.fail(error)
    case .ask(let directory, let path):
      let pending = wait(request, .query)
      send(.lookup(.path(path))) { [self] reply in
        finishLookup(pending, name, directory, PeerFilesystem.attributes(in: reply), asked: now)
      }
    }
  }

  private func finishLookup(
    _ pending: PendingRequest, _ name: [UInt8], _ directory: Node, _ result: Result<Attributes, Errno>,
    asked: Instant
  ) {
    guard let request = pending.take() else { return }
    switch result {
    case .success(let attributes):
      let entry = state.withLock { state -> FUSEEntry in
        let node = state.tree.enter(name, in: directory, attributes, asked: asked)
        directory.listing?.set(name, attributes, asked: asked)
        let isQuiet = directory.changing == 0 && directory.changed < asked
        return self.entry(for: node, now: .now, nameValidity: isQuiet ? options.entryTimeout : 0)
      }
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    case .failure(.noSuchFileOrDirectory):
      let validity = state.withLock { state -> Double in
        guard directory.changing == 0, directory.changed < asked else { return 0 }
        state.tree.unlink(name, in: directory)
        directory.listing?.remove(name)
        return options.entryTimeout
      }
      request.reply(absentFor: validity)
    case .failure(let error): request.fail(error)
    }
  }

  /// How long the cached listing of a directory still says what names there are. Under the lock.
  func nameValidity(of directory: Node, _ listing: DirectoryListing, _ now: Instant) -> Double {
    guard directory.changing == 0 else { return 0 }
    return max(0, options.entryTimeout - now.seconds(since: listing.asked))
  }

  func forget(_ node: UInt64, count: UInt64) {
    state.withLock { $0.tree.forget(node, count: count) }
  }

  // MARK: getattr

  func getattr(_ request: consuming FUSERequest, node: UInt64, handle: UInt64?) {
    enum Step {
      case known(FUSEAttributes, Double)
      case ask(Node)
      case fail(Errno)
    }
    let now = Instant.now
    let step = state.withLock { state -> Step in
      guard let node = state.tree[node] else { return .fail(.staleNFSFileHandle) }
      let validity = node.validity(at: now, timeout: options.attributeTimeout)
      if validity > 0 { return .known(shown(node), validity) }
      // A directory that was removed while it is in use: nobody else knows it any more.
      if node.isUnlinked, node.files.isEmpty { return .known(shown(node), 0) }
      return .ask(node)
    }
    switch step {
    case .known(let attributes, let validity): request.reply(attributes: attributes, timeout: validity)
    case .fail(let error): request.fail(error)
    case .ask(let node):
      let pending = wait(request, .query)
      afterWrites(of: node) { [self] in askAttributes(pending, node, handle) }
    }
  }

  private func askAttributes(_ pending: PendingRequest, _ node: Node, _ handle: UInt64?) {
    let asked = Instant.now
    let target = state.withLock { $0.target(node, handle) }
    switch target {
    case .failure(let error): pending.fail(error)
    case .success(let target):
      send(.lookup(target)) { [self] reply in
        switch PeerFilesystem.attributes(in: reply) {
        case .success(let attributes):
          let answer = state.withLock { state -> (FUSEAttributes, Double)? in
            guard RemoteFile(attributes) == node.remote else { return nil }
            node.update(attributes, asked: asked)
            state.tree.noteLinks(of: node)
            return (shown(node), node.validity(at: .now, timeout: options.attributeTimeout))
          }
          guard let request = pending.take() else { return }
          if let (attributes, validity) = answer {
            request.reply(attributes: attributes, timeout: validity)
          } else {
            // Something else has taken the name: the kernel is to look it up again.
            forgetName(of: node)
            request.fail(.staleNFSFileHandle)
          }
        case .failure(let error):
          if error == .noSuchFileOrDirectory { forgetName(of: node) }
          pending.fail(error)
        }
      }
    }
  }

  /// The name of a node no longer stands for it: the next lookup asks.
  func forgetName(of node: Node) {
    let parent = state.withLock { state -> (UInt64, [UInt8])? in
      guard let parent = node.parent else { return nil }
      parent.dropListing(&state)
      state.tree.unlink(node.name, in: parent)
      return (parent.id, node.name)
    }
    if let (parent, name) = parent { session?.invalidate(entry: name, in: parent) }
  }

  // MARK: setattr

  func setattr(
    _ request: consuming FUSERequest, node id: UInt64, attributes: FUSEAttributes, changes: FUSEAttributeChanges,
    handle: UInt64?
  ) {
    // All belongs to whoever mounted it: giving it to him is done, to others impossible.
    if changes.contains(.user), attributes.user != options.user { return _ = request.fail(.notPermitted) }
    if changes.contains(.group), attributes.group != options.group { return _ = request.fail(.notPermitted) }
    guard let node = state.withLock({ $0.tree[id] }) else { return _ = request.fail(.staleNFSFileHandle) }
    var wanted = AttributeChanges()
    if changes.contains(.mode) { wanted.mode = attributes.mode & 0o1777 }
    if changes.contains(.size) {
      guard attributes.size >= 0 else { return _ = request.fail(.invalidArgument) }
      guard attributes.size <= Limits.Wire.fileSize else { return _ = request.fail(.fileTooLarge) }
      wanted.size = attributes.size
    }
    if changes.contains(.accessed) {
      wanted.accessed = changes.contains(.accessedNow) ? .now : .set(Timestamp(attributes.accessed))
    }
    if changes.contains(.modified) {
      wanted.modified = changes.contains(.modifiedNow) ? .now : .set(Timestamp(attributes.modified))
    }
    guard wanted != AttributeChanges() else { return getattr(request, node: id, handle: handle) }
    let pending = wait(request, .change)
    afterWrites(of: node) { [self, wanted] in sendChanges(pending, node, handle, wanted) }
  }

  private func sendChanges(
    _ pending: PendingRequest, _ node: Node, _ handle: UInt64?, _ changes: AttributeChanges
  ) {
    let (target, dropped) = state.withLock { state -> (Result<Target, Errno>, [UInt64]) in
      let target = state.target(node, handle)
      guard case .success = target else { return (target, []) }
      node.beginChange(at: .now)
      guard changes.size != nil else { return (target, []) }
      node.cachedVersion = nil
      return (target, node.invalidateStreams())
    }
    for request in dropped { requester.abandon(request) }
    guard case .success(let target) = target else {
      if case .failure(let error) = target { pending.fail(error) }
      return
    }
    send(.setattr(target, changes)) { [self] reply in
      let result = PeerFilesystem.attributes(in: reply)
      let (answer, others) = state.withLock { state -> ((FUSEAttributes, Double), [UInt64]) in
        node.endChange(at: .now)
        if case .success(let attributes) = result { node.update(attributes, asked: .now) }
        let known = node.isKnown ? node.attributes : nil
        node.parent?.listing?.set(ifThere: node.name, known, asked: node.asked)
        let others = touchLinks(of: node, &state, now: .now)
        return ((shown(node), node.validity(at: .now, timeout: options.attributeTimeout)), others)
      }
      invalidate(attributesOf: others) {
        guard let request = pending.take() else { return }
        if case .failure(let error) = result { return _ = request.fail(error) }
        request.reply(attributes: answer.0, timeout: answer.1)
      }
    }
  }

  // MARK: readlink, statfs

  func readlink(_ request: consuming FUSERequest, node id: UInt64) {
    let found = state.withLock { state -> Result<(Path, Int), Errno> in
      guard let node = state.tree[id] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        return .success((try state.tree.path(of: node), state.tree.depth(of: node)))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let (path, depth)):
      let pending = wait(request, .query)
      send(.readlink(path)) { [self] reply in
        guard let request = pending.take() else { return }
        if let error = reply.error { return _ = request.fail(error) }
        let target = Array(reply.body.bytes)
        guard !target.isEmpty, target.count <= Limits.Wire.linkTarget, !target.contains(0) else {
          return _ = request.fail(.ioError)
        }
        guard options.followsSymlinks || LinkTarget.staysInside(target, depth: depth - 1) else {
          return _ = request.fail(.notPermitted)
        }
        request.reply(target: target)
      }
    }
  }

  func statfs(_ request: consuming FUSERequest, node: UInt64) {
    let now = Instant.now
    let (known, path) = state.withLock { state -> (FUSEStatistics?, Path) in
      if let (values, asked) = state.statistics, now.seconds(since: asked) < Limits.Mount.statisticsValidity {
        return (values, .root)
      }
      return (nil, state.tree.base)
    }
    if let known { return _ = request.reply(statistics: known) }
    let pending = wait(request, .query)
    send(.statfs(path)) { [self] reply in
      guard let request = pending.take() else { return }
      if let error = reply.error { return _ = request.fail(error) }
      guard let values = try? reply.statistics() else { return _ = request.fail(.ioError) }
      let statistics = FUSEStatistics(values)
      state.withLock { $0.statistics = (statistics, now) }
      request.reply(statistics: statistics)
    }
  }
}

extension PeerFilesystem.State {
  /// How a request names a node: by the handle it came with, else by the path, else, if it has none any more, by
  /// any handle.
  func target(_ node: Node, _ handle: UInt64?) -> Result<Target, Errno> {
    if let handle, let file = files[handle], file.node === node { return .success(.handle(file.handle)) }
    do throws(Errno) {
      return .success(.path(try tree.path(of: node)))
    } catch {
      let file = node.files.first { $0.options.contains(.write) } ?? node.files.first
      return file.map { .success(.handle($0.handle)) } ?? .failure(error)
    }
  }
}

extension Node {
  /// Whether its attributes are what the peer has now, as far as we can know.
  var isKnown: Bool { changing == 0 && writes.isIdle && changed < asked }

  /// What was read ahead of the file is not its contents any more.
  /// - Returns: the requests to abandon.
  func invalidateStreams() -> [UInt64] {
    var dropped: [UInt64] = []
    for file in files {
      for segment in file.stream.invalidate() {
        if let request = file.requests.removeValue(forKey: segment) { dropped.append(request) }
      }
    }
    return dropped
  }
}

extension DirectoryListing {
  /// Notes what we know of an entry, if it is there.
  mutating func set(ifThere name: [UInt8], _ attributes: Attributes?, asked: Instant) {
    if self[name] != nil { set(name, attributes, asked: asked) }
  }
}

extension Timestamp {
  init(_ time: FUSEAttributes.Time) {
    self.init(seconds: time.seconds, nanoseconds: min(time.nanoseconds, 999_999_999))
  }
}

extension FUSEStatistics {
  init(_ values: FilesystemStatistics) {
    self.init()
    blockSize = values.blockSize
    fragmentSize = values.fragmentSize
    blocks = values.blocks
    freeBlocks = values.freeBlocks
    availableBlocks = values.availableBlocks
    files = values.files
    freeFiles = values.freeFiles
    nameLength = min(values.nameLength, 255)
  }
}

import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// lookup, forget, getattr, access, readlink.
extension PeerFilesystem {
  func lookup(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer) {
    guard name.count <= Limits.Wire.name else { return _ = request.fail(.fileNameTooLong) }
    lookup(request, parent: parent, name: Array(name))
  }

  func lookup(_ request: consuming FUSERequest, parent: UInt64, name: [UInt8]) {
    if let request = detour(request, parent: parent, name: name) { find(request, parent: parent, name: name) }
  }

  /// Answers a lookup by what is known, or asks.
  private func find(_ request: consuming FUSERequest, parent: UInt64, name: [UInt8]) {
    enum Step {
      case entry(FUSEEntry)
      case absent(Double)
      case ask(Node, Place, PendingRequest.Relief?)
      case open(Node, Place, OpenOptions)
      case fail(Errno)
    }
    let now = Instant.now
    let process = request.process
    let step = locked { state -> Step in
      guard let directory = state.tree[parent] else { return .fail(.staleNFSFileHandle) }
      do throws(Errno) {
        let retry = state.retry(of: process, now)
        if let retry, retry.expects(name, in: parent, directory.children[name]) {
          if let node = directory.children[name], state.pinned[PinKey(node: node.id, process: process)] != nil {
            return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: options.entryTimeout))
          }
          return .open(directory, try state.tree.place(of: name, in: directory), retry.options)
        }
        // The kernel does not ask for a name that it believes, unless it wants to know for sure: what is remembered
        // must not make open(2) with O_CREAT, mkdir or rename fail.
        let isBelieved =
          retry == nil && directory.children[name].map { $0.isTold(name, in: directory, at: now) } ?? false
        if !isBelieved, let known = known(name, in: directory, now, &state) { return known }
        let place = try state.tree.place(of: name, in: directory)
        if let node = directory.children[name] {
          return .ask(directory, place, relief(byKnown: name, in: directory, node))
        }
        let question = Question(kind: .lookup, node: parent, name: name)
        return .ask(directory, place, state.detours.mayBegin(process, now) ? .retry(question, []) : .refused)
      } catch {
        return .fail(error)
      }
      func known(_ name: [UInt8], in directory: Node, _ now: Instant, _ state: inout State) -> Step? {
        if let listing = directory.listing, nameValidity(of: directory, listing, now) > 0 {
          let validity = nameValidity(of: directory, listing, now)
          guard let known = listing[name] else { return .absent(validity) }
          if let node = directory.children[name], node.validity(at: now, timeout: options.attributeTimeout) > 0 {
            return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: validity))
          }
          if let attributes = known.attributes, now.seconds(since: known.asked) < options.attributeTimeout,
            directory.children[name].map({ $0.isQuiet(since: known.asked) }) ?? true,
            state.believes(attributes, asked: known.asked)
          {
            let node = state.tree.enter(name, in: directory, attributes, asked: known.asked)
            return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: validity))
          }
        } else if let node = directory.children[name] {
          let validity = min(
            node.validity(at: now, timeout: options.attributeTimeout),
            node.validity(at: now, timeout: options.entryTimeout))
          if validity > 0 {
            return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: validity))
          }
        }
        return nil
      }
    }
    switch step {
    case .entry(let entry):
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    case .absent(let validity): request.reply(absentFor: validity)
    case .fail(let error): request.fail(error)
    case .ask(let directory, let place, let relief):
      let pending = wait(request, relief: relief)
      send(.lookup(.path(place))) { [self] reply in
        finishLookup(pending, name, directory, place, PeerFilesystem.attributes(in: reply), asked: now)
      }
    case .open(let directory, let place, let options):
      let pending = wait(request)
      openAhead(place, name, in: directory, options, for: process) { [self] result in
        guard let result else {
          // Not a file that can be opened so: the kernel is to see that by itself.
          send(.lookup(.path(place))) { [self] reply in
            finishLookup(pending, name, directory, place, PeerFilesystem.attributes(in: reply), asked: now)
          }
          return
        }
        finishLookup(pending, name, directory, place, result, asked: now)
      }
    }
  }

  private func finishLookup(
    _ pending: PendingRequest, _ name: [UInt8], _ directory: Node, _ place: Place, _ result: Result<Attributes, Errno>,
    asked: Instant
  ) {
    if case .failure(.staleNFSFileHandle) = result { return lookup(name, inWhatWas: directory, place, pending) }
    pending.answer { [self] request in finishLookup(request, name, directory, result, asked: asked) }
  }

  /// Answers a lookup in a directory that is another one at the peer by now. The kernel does not walk the path once more if
  /// this is the last step of a call that makes a name; but it does when the change itself is answered ESTALE. So a name
  /// that is not there either is answered as absent, which is not remembered.
  private func lookup(_ name: [UInt8], inWhatWas directory: Node, _ place: Place, _ pending: PendingRequest) {
    doubt([directory])
    send(.lookup(.path(place.path))) { reply in
      guard reply.error == .noSuchFileOrDirectory else { return pending.fail(.staleNFSFileHandle) }
      pending.answer { request in request.reply(absentFor: 0) }
    }
  }

  private func finishLookup(
    _ request: consuming FUSERequest, _ name: [UInt8], _ directory: Node, _ result: Result<Attributes, Errno>,
    asked: Instant
  ) {
    switch result {
    case .success(let attributes):
      let entry = locked { state -> FUSEEntry in
        let node = state.tree.enter(name, in: directory, attributes, asked: asked)
        directory.listing?.set(name, attributes, asked: asked)
        let validity = directory.isQuiet(since: asked) ? options.entryTimeout : 0
        return self.entry(for: node, as: name, in: directory, now: .now, nameValidity: validity)
      }
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    case .failure(.noSuchFileOrDirectory):
      let validity = locked { state -> Double in
        guard directory.isQuiet(since: asked) else { return 0 }
        state.tree.unlink(name, in: directory)
        directory.listing?.remove(name)
        return options.entryTimeout
      }
      request.reply(absentFor: validity)
    case .failure(let error):
      let thread = request.process
      request.fail(afterTimeout(error, isOpening: ProcessThread(thread).isOpening))
    }
  }

  /// The error to answer with: once the peer has been away for too long, opening fails with another one than the rest.
  func afterTimeout(_ error: Errno, isOpening: @autoclosure () -> Bool = true) -> Errno {
    error == .ioError && !requester.isOnline && isOpening() ? .socketNotConnected : error
  }

  /// How long the cached listing of a directory still says what names there are. Under the lock.
  func nameValidity(of directory: Node, _ listing: CachedListing, _ now: Instant) -> Double {
    guard directory.changing == 0 else { return 0 }
    return max(0, options.entryTimeout - now.seconds(since: listing.asked))
  }

  func forget(_ node: UInt64, count: UInt64) {
    locked { $0.tree.forget(node, count: count) }
  }

  // MARK: getattr, access

  func getattr(_ request: consuming FUSERequest, node: UInt64, handle: UInt64?) {
    let thread = request.process
    if locked({ $0.detours.holds(thread) }) {
      return hold(request) { [self] request in getattr(request, node: node, handle: handle) }
    }
    withAttributes(of: node, handle, request) { [self] request, node in
      let (attributes, validity) = locked { _ -> (FUSEAttributes, Double) in
        let validity = node.validity(at: .now, timeout: options.attributeTimeout)
        return (told(node, now: .now, validity), validity)
      }
      request.reply(attributes: attributes, timeout: validity)
    }
  }

  func access(_ request: consuming FUSERequest, node: UInt64, mask: Int32) {
    withAttributes(of: node, nil, request) { request, node in
      let wanted = Attributes.Rights(rawValue: UInt8(truncatingIfNeeded: mask & 7))
      let rights = self.locked { _ in node.attributes.rights }
      // The peer may have become read-only since it was mounted. As in inode_permission of fs/namei.c.
      let isStored = [.regular, .directory, .symbolicLink].contains(node.remote.type)
      if wanted.contains(.write), isStored, self.requester.isReadOnly {
        return _ = request.fail(.readOnlyFileSystem)
      }
      if rights.isSuperset(of: wanted) { request.succeed() } else { request.fail(.permissionDenied) }
    }
  }

  /// Calls `body` when the attributes of a node are known: at once, or when the peer has told them. If it cannot, the
  /// request is answered with the error.
  private func withAttributes(
    of id: UInt64, _ handle: UInt64?, _ request: consuming FUSERequest,
    _ body: @escaping @Sendable (consuming FUSERequest, Node) -> Void
  ) {
    enum Step {
      case known(Node)
      case ask(Node)
      case fail(Errno)
    }
    let now = Instant.now
    let step = locked { state -> Step in
      guard let node = state.tree[id] else { return .fail(.staleNFSFileHandle) }
      if node.validity(at: now, timeout: options.attributeTimeout) > 0 { return .known(node) }
      // A directory that was removed while it is in use: nobody else knows it any more.
      if node.isUnlinked, node.files.isEmpty { return .known(node) }
      return .ask(node)
    }
    switch step {
    case .known(let node): body(request, node)
    case .fail(let error): request.fail(error)
    case .ask(let node):
      let pending = wait(request)
      afterWrites(of: node) { [self] in
        askAttributes(of: node, handle, for: pending.process) { [self] error in
          // A descriptor whose file is lost says so each time.
          let isLost = locked { _ in node.files.contains { $0.lost != nil } }
          // Of a descriptor that nothing is open for at the peer, as of a directory that is somewhere else now, there is
          // nothing better than what is known; fstat(2) does not ask again.
          let isEnough = error == .staleNFSFileHandle && !isLost && ProcessThread(pending.process).isUsingDescriptor
          if let error, !isEnough { return pending.fail(isLost ? error : tried(error, by: pending.process)) }
          if error == nil { locked { $0.staleThreads[pending.process] = nil } }
          if let request = pending.take() { body(request, node) }
        }
      }
    }
  }

  /// Asks the peer for the attributes of a node, by another name or handle if one turns out to be gone.
  private func askAttributes(
    of node: Node, _ handle: UInt64?, for process: Int32, tries: Int = Limits.Mount.targets,
    _ completion: @escaping @Sendable (Errno?) -> Void
  ) {
    let asked = Instant.now
    let target = locked { $0.target(node, handle) }
    guard case .success(let target) = target, tries > 0 else {
      if case .failure(let error) = target { return completion(error) }
      return completion(.staleNFSFileHandle)
    }
    send(.lookup(target)) { [self] reply in
      let result = PeerFilesystem.attributes(in: reply)
      switch (result, target) {
      case (.success(let attributes), _):
        // The root is whatever is exported.
        if node.isRoot { adopt(root: attributes, asked: asked) }
        let isSame = locked { state -> Bool in
          guard RemoteFile(attributes) == node.remote else { return false }
          state.tree.learn(attributes, of: node, asked: asked)
          return true
        }
        completion(isSame ? nil : .staleNFSFileHandle)
      // Nothing, or something else, has the name now: the kernel is to look it up again, if it was the last and that is
      // what the program has named.
      case (.failure(let error), .path(let place))
      where error == .noSuchFileOrDirectory || error == .staleNFSFileHandle:
        doubt([node])
        let hasMore = forgetName(of: node, place.path, isTaken: error == .staleNFSFileHandle)
        guard hasMore || ProcessThread(process).isUsingDescriptor else { return completion(.staleNFSFileHandle) }
        askAttributes(of: node, handle, for: process, tries: tries - 1, completion)
      // By a handle of somebody else, who has closed it meanwhile.
      case (.failure(.badFileDescriptor), .handle) where handle == nil:
        askAttributes(of: node, nil, for: process, tries: tries - 1, completion)
      case (.failure(let error), _): completion(error)
      }
    }
  }

  /// The error to answer with: on ESTALE the kernel looks the name up again, once. Where that leads to a file that has
  /// lost its name by then, too, there was none for a moment.
  func tried(_ error: Errno, by process: Int32) -> Errno {
    guard error == .staleNFSFileHandle else { return error }
    return locked { state in
      let now = Instant.now
      state.detours.note(stale: process, now)
      if let until = state.staleThreads.removeValue(forKey: process), now < until { return .noSuchFileOrDirectory }
      if state.staleThreads.count > Limits.Mount.pins { state.staleThreads = [:] }
      state.staleThreads[process] = now.advanced(by: Limits.Mount.secondTry)
      return error
    }
  }

  /// The name of a node that `path` ends with no longer stands for it: the next lookup asks.
  /// - Parameter isTaken: whether something else has it.
  /// - Returns: whether the node has another name.
  @discardableResult
  func forgetName(of node: Node, _ path: Path, isTaken: Bool = false) -> Bool {
    let (forgotten, hasMore) = locked { state -> ((UInt64, [UInt8])?, Bool) in
      guard let name = node.names.last, path.parentAndName?.name.elementsEqual(name.bytes) == true else {
        return (nil, false)
      }
      name.parent.dropListing(&state)
      if isTaken {
        state.tree.displace(name.bytes, in: name.parent)
      } else {
        state.tree.unlink(name.bytes, in: name.parent)
      }
      return ((name.parent.id, name.bytes), !node.names.isEmpty)
    }
    if let (parent, name) = forgotten { session?.invalidate(entry: name, in: parent) }
    return hasMore
  }

  // MARK: readlink

  func readlink(_ request: consuming FUSERequest, node id: UInt64) {
    let found = locked { state -> Result<(Path, Int, [UInt8]?), Errno> in
      guard let node = state.tree[id] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        return .success((try state.tree.path(of: node), state.tree.depth(of: node), state.ownLinks[node.remote]))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let (path, depth, own)):
      let pending = wait(request)
      send(.readlink(path)) { [self] reply in
        guard let request = pending.take() else { return }
        if let error = reply.error { return _ = request.fail(error) }
        let target = Array(reply.body.bytes)
        guard !target.isEmpty, target.count <= Limits.Wire.linkTarget, !target.contains(0) else {
          return _ = request.fail(.ioError)
        }
        guard own == target || mayLead(to: target, depth: depth - 1) else {
          let isFirst = locked { state -> Bool in
            defer { state.hasRefusedLink = true }
            return !state.hasRefusedLink
          }
          if isFirst {
            log.warning(
              """
              a symbolic link of the peer leads out of the share, and is refused: it would be followed on this \
              computer. To see the texts of such links mount with -o nosymfollow, which follows none; to follow all, \
              with -o follow_symlinks
              """)
          }
          return _ = request.fail(.notPermitted)
        }
        request.reply(target: target)
      }
    }
  }

  /// Whether a link of the peer, `depth` directories below the root, may lead there: it stays in the share, comes back
  /// into this mount, or the user wants all of them.
  private func mayLead(to target: [UInt8], depth: Int) -> Bool {
    if options.followsSymlinks || options.followsNoSymlinks { return true }
    if LinkTarget.staysInside(target, depth: depth) { return true }
    guard let mountpoint = session.map({ Array($0.mountpoint.utf8) }) else { return false }
    let rest = target.dropFirst(mountpoint.count)
    guard target.starts(with: mountpoint), rest.first == UInt8(ascii: "/") || rest.isEmpty else { return false }
    return LinkTarget.staysInside(Array(rest.drop { $0 == UInt8(ascii: "/") }), depth: 0)
  }
}

extension PeerFilesystem.State {
  /// The retry that a thread is expected to make.
  mutating func retry(of process: Int32, _ now: Instant) -> OpenRetry? {
    guard let retry = retries[process] else { return nil }
    if now < retry.until { return retry }
    retries[process] = nil
    return nil
  }
}

extension Node {
  /// Whether the kernel believes a name of it without asking.
  func isTold(_ name: [UInt8], in directory: Node, at now: Instant) -> Bool {
    names.contains { $0.parent === directory && $0.bytes == name && now < $0.toldUntil }
  }
}

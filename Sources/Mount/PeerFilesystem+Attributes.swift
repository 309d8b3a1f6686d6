import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// lookup, forget, getattr, access, setattr, readlink, statfs.
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
      case ask(Node, Path, PendingRequest.Relief?)
      case open(Node, Path, OpenOptions)
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
          return .open(directory, try state.tree.path(of: name, in: directory), retry.options)
        }
        // The kernel does not ask for a name that it believes, unless it wants to know for sure: what is remembered
        // must not make open(2) with O_CREAT, mkdir or rename fail.
        let isBelieved =
          retry == nil && directory.children[name].map { $0.isTold(name, in: directory, at: now) } ?? false
        if !isBelieved, let known = known(name, in: directory, now, &state) { return known }
        let path = try state.tree.path(of: name, in: directory)
        if let node = directory.children[name] {
          return .ask(directory, path, relief(byKnown: name, in: directory, node))
        }
        let question = Question(kind: .lookup, node: parent, name: name)
        return .ask(directory, path, state.detours.mayBegin(process, now) ? .retry(question, []) : .refused)
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
    case .ask(let directory, let path, let relief):
      let pending = wait(request, relief: relief)
      send(.lookup(.path(path))) { [self] reply in
        finishLookup(pending, name, directory, PeerFilesystem.attributes(in: reply), asked: now)
      }
    case .open(let directory, let path, let options):
      let pending = wait(request)
      openAhead(path, name, in: directory, options, for: process) { [self] result in
        guard let result else {
          // Not a file that can be opened so: the kernel is to see that by itself.
          send(.lookup(.path(path))) { [self] reply in
            finishLookup(pending, name, directory, PeerFilesystem.attributes(in: reply), asked: now)
          }
          return
        }
        finishLookup(pending, name, directory, result, asked: now)
      }
    }
  }

  private func finishLookup(
    _ pending: PendingRequest, _ name: [UInt8], _ directory: Node, _ result: Result<Attributes, Errno>,
    asked: Instant
  ) {
    pending.answer { [self] request in finishLookup(request, name, directory, result, asked: asked) }
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
        askAttributes(of: node, handle) { [self] error in
          // A descriptor whose file is lost says so each time.
          let isLost = locked { _ in node.files.contains { $0.lost != nil } }
          if let error { return pending.fail(isLost ? error : tried(error, by: pending.process)) }
          if let request = pending.take() { body(request, node) }
        }
      }
    }
  }

  /// Asks the peer for the attributes of a node, by another name if one turns out to be gone.
  private func askAttributes(
    of node: Node, _ handle: UInt64?, _ completion: @escaping @Sendable (Errno?) -> Void
  ) {
    let asked = Instant.now
    let target = locked { $0.target(node, handle) }
    switch target {
    case .failure(let error): completion(error)
    case .success(let target):
      send(.lookup(target)) { [self] reply in
        switch PeerFilesystem.attributes(in: reply) {
        case .success(let attributes):
          let isSame = locked { state -> Bool in
            guard RemoteFile(attributes) == node.remote else { return false }
            state.tree.learn(attributes, of: node, asked: asked)
            return true
          }
          if isSame { return completion(nil) }
        // By a handle of somebody else, who has closed it meanwhile.
        case .failure(.badFileDescriptor) where handle == nil: return completion(.staleNFSFileHandle)
        case .failure(let error):
          guard error == .noSuchFileOrDirectory, case .path = target else { return completion(error) }
        }
        // Nothing, or something else, has the name now: the kernel is to look it up again, if it was the last.
        guard case .path(let path) = target, forgetName(of: node, path) else { return completion(.staleNFSFileHandle) }
        askAttributes(of: node, handle, completion)
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
  /// - Returns: whether the node has another name.
  @discardableResult
  func forgetName(of node: Node, _ path: Path) -> Bool {
    let (forgotten, hasMore) = locked { state -> ((UInt64, [UInt8])?, Bool) in
      guard let name = node.names.last, path.parentAndName?.name.elementsEqual(name.bytes) == true else {
        return (nil, false)
      }
      name.parent.dropListing(&state)
      state.tree.unlink(name.bytes, in: name.parent)
      return ((name.parent.id, name.bytes), !node.names.isEmpty)
    }
    if let (parent, name) = forgotten { session?.invalidate(entry: name, in: parent) }
    return hasMore
  }

  // MARK: setattr

  func setattr(
    _ request: consuming FUSERequest, node id: UInt64, attributes: FUSEAttributes, changes: FUSEAttributeChanges,
    handle: UInt64?
  ) {
    // All belongs to whoever mounted it: giving it to him is done, to others impossible.
    if changes.contains(.user), attributes.user != options.user { return _ = request.fail(.notPermitted) }
    if changes.contains(.group), attributes.group != options.group { return _ = request.fail(.notPermitted) }
    guard let node = locked({ $0.tree[id] }) else { return _ = request.fail(.staleNFSFileHandle) }
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
    let question = Question(kind: .setattr, node: id, changes: wanted)
    let thread = request.process
    guard let request = rejoin(request, question) else { return }
    let pending = wait(request, relief: handle == nil ? retry(question, [], of: thread) : .refused)
    afterWrites(of: node) { [self, wanted] in sendChanges(pending, node, handle, wanted) }
  }

  private func sendChanges(
    _ pending: PendingRequest, _ node: Node, _ handle: UInt64?, _ changes: AttributeChanges
  ) {
    let (target, settles) = locked { state -> (Result<Target, Errno>, Bool) in
      let target = state.target(node, handle)
      guard case .success = target else { return (target, false) }
      node.beginChange(at: .now)
      if changes.size != nil {
        node.cachedVersion = nil
        state.tree.effects.abandoned += node.invalidateStreams()
      }
      return (target, state.settle(node, changes))
    }
    guard case .success(let target) = target else {
      if case .failure(let error) = target { pending.fail(tried(error, by: pending.process)) }
      return
    }
    // Pages that were changed through a mapping before this are written now, so that they do not set the time later.
    if settles { session?.invalidate(contentsOf: node.id) }
    send(.setattr(target, changes)) { [self] reply in
      let result = PeerFilesystem.attributes(in: reply)
      let answer = locked { state -> (FUSEAttributes, Double) in
        node.endChange(at: .now)
        if case .success(let attributes) = result, RemoteFile(attributes) == node.remote {
          state.tree.learn(attributes, of: node, asked: .now)
        }
        state.noteChange(ofLinks: node, .now)
        if node.isKnown { node.noteInListings(node.attributes, asked: node.asked) }
        let validity = node.validity(at: .now, timeout: options.attributeTimeout)
        return (told(node, now: .now, validity), validity)
      }
      if case .failure(let error) = result {
        let isStale = error == .badFileDescriptor && handle == nil
        return pending.fail(tried(isStale ? .staleNFSFileHandle : error, by: pending.process))
      }
      pending.answer { request in request.reply(attributes: answer.0, timeout: answer.1) }
    }
  }

  // MARK: readlink, statfs

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

  func statfs(_ request: consuming FUSERequest, node id: UInt64) {
    let now = Instant.now
    let found = locked { state -> (known: FUSEStatistics?, device: UInt64, path: Path) in
      let node = state.tree[id] ?? state.tree.root
      let device = node.remote.identity.device
      if let (values, asked) = state.statistics[device], now.seconds(since: asked) < Limits.Mount.statisticsValidity {
        return (values, device, .root)
      }
      return (nil, device, (try? state.tree.path(of: node)) ?? state.tree.base)
    }
    if let known = found.known { return _ = request.reply(statistics: known) }
    let pending = wait(request)
    send(.statfs(found.path)) { [self] reply in
      guard let request = pending.take() else { return }
      if let error = reply.error { return _ = request.fail(error) }
      guard let values = try? reply.statistics() else { return _ = request.fail(.ioError) }
      let statistics = FUSEStatistics(values)
      locked { state in
        if state.statistics.count >= Limits.Mount.filesystems { state.statistics = [:] }
        state.statistics[found.device] = (statistics, now)
      }
      request.reply(statistics: statistics)
    }
  }
}

extension PeerFilesystem.State {
  /// How a request names a node: by the handle it came with, else by the path, else, if it has none any more, by
  /// any handle.
  func target(_ node: Node, _ handle: UInt64?) -> Result<Target, Errno> {
    if let handle, let file = files[handle], file.node === node, file.lost == nil {
      return .success(.handle(file.handle))
    }
    do throws(Errno) {
      return .success(.path(try tree.path(of: node)))
    } catch {
      let file = node.files.first { $0.options.contains(.write) && $0.lost == nil } ?? node.files.first
      if let lost = file?.lost { return .failure(lost) }
      return file.map { .success(.handle($0.handle)) } ?? .failure(error)
    }
  }

  /// A program sets times. Under the lock.
  /// - Returns: whether pages may have been changed through a mapping before that, and are to be written now.
  mutating func settle(_ node: Node, _ changes: AttributeChanges) -> Bool {
    guard changes.size == nil, case .set(let time) = changes.modified else {
      if changes.modified != nil { node.settled = nil }
      return false
    }
    let isMappable = node.files.contains { $0.options.isSuperset(of: [.read, .write]) }
    node.settled = isMappable ? (time, .now.advanced(by: Limits.Mount.settling)) : nil
    return isMappable
  }

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

import Core
import FUSE
import Glibc
import Session
import Synchronization
import SystemPackage
import Wire

/// Opening and closing files.
extension PeerFilesystem {
  func open(_ request: consuming FUSERequest, node id: UInt64, flags: Int32) {
    let options = OpenOptions(flags: flags)
    let found = state.withLock { state -> Result<(Node, Path, Bool), Errno> in
      guard let node = state.tree[id] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        return .success((node, try state.tree.path(of: node), node.isReadThrough))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let (node, path, isReadThrough)):
      let pending = wait(request, options.contains(.truncate) ? .change : .query)
      // What was written is to be seen by this one, whoever wrote it.
      afterWrites(of: node) { [self] in
        let prefetch = options == .read && !isReadThrough ? Limits.Mount.prefetch : 0
        askOpen(pending, node, path, options, prefetch: prefetch)
      }
    }
  }

  private func askOpen(
    _ pending: PendingRequest, _ node: Node, _ path: Path, _ options: OpenOptions, prefetch: Int
  ) {
    let file = OpenFile(handle: requester.newHandle(), node: node, options: options)
    let asked = Instant.now
    let segment = state.withLock { _ -> UInt64? in
      if options.contains(.truncate) {
        node.beginChange(at: asked)
        node.cachedVersion = nil
      }
      return prefetch > 0 ? file.stream.expectStart(prefetch).segment : nil
    }
    send(.open(file.handle, path, options, prefetch: UInt32(prefetch))) { [self] reply in
      if let segment, state.withLock({ $0.files[file.handle.rawValue] === file || file.isAnswered }) {
        receive(reply, file, segment, opening: true)
        return
      }
      opened(pending, file, reply, segment, asked: asked)
    }
  }

  /// The first reply to an open.
  private func opened(
    _ pending: PendingRequest, _ file: OpenFile, _ reply: Reply, _ segment: UInt64?, asked: Instant
  ) {
    let node = file.node
    let result = PeerFilesystem.attributes(in: reply)
    guard case .success(let attributes) = result, RemoteFile(attributes) == node.remote else {
      state.withLock { _ in
        file.isAnswered = true
        if file.options.contains(.truncate) { node.endChange(at: .now) }
      }
      if case .failure(let error) = result {
        if error == .noSuchFileOrDirectory { forgetName(of: node) }
        return pending.fail(error == .ioError && !requester.isOnline ? .socketNotConnected : error)
      }
      // Another file has taken the name: the kernel looks it up again, and opens that one.
      send(.close(file.handle)) { _ in }
      forgetName(of: node)
      return pending.fail(.staleNFSFileHandle)
    }
    guard let request = pending.take() else {
      state.withLock { _ in
        file.isAnswered = true
        if file.options.contains(.truncate) { node.endChange(at: .now) }
      }
      return _ = send(.close(file.handle)) { _ in }
    }
    let (keepsCache, isNews) = state.withLock { state -> (Bool, Bool) in
      state.files[file.handle.rawValue] = file
      file.isAnswered = true
      node.files.append(file)
      if file.options.contains(.truncate) {
        node.endChange(at: .now)
        node.update(attributes, asked: .now)
        node.parent?.listing?.set(ifThere: node.name, attributes, asked: node.asked)
        node.cachedVersion = nil
        return (false, true)
      }
      let isNews = node.attributes.version != attributes.version
      node.update(attributes, asked: asked)
      if isNews { node.parent?.listing?.set(ifThere: node.name, attributes, asked: asked) }
      let keepsCache = node.cachedVersion == attributes.version && node.isKnown
      if !keepsCache { node.readSinceCached = 0 }
      node.cachedVersion = node.isKnown ? attributes.version : nil
      return (keepsCache, isNews)
    }
    if reply.isLast, let segment { receive(nil, file, segment) }
    let reply = FUSEOpenFile(
      handle: file.handle.rawValue, isDirect: file.options.contains(.append), keepsCache: keepsCache,
      needsNoFlush: !file.options.contains(.write))
    guard isNews, let session else { return finishOpen(request, file, reply) }
    // The kernel would read up to the size it remembers.
    let again = wait(request, .query)
    session.invalidate(attributesOf: node.id) { [self] in
      guard let request = again.take() else { return close(file) }
      finishOpen(request, file, reply)
    }
  }

  private func finishOpen(_ request: consuming FUSERequest, _ file: OpenFile, _ reply: FUSEOpenFile) {
    if !request.reply(opened: reply) { close(file) }
  }

  func create(
    _ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32, flags: Int32
  ) {
    let name = Array(name)
    var options = OpenOptions(flags: flags)
    if flags & O_EXCL != 0 { options.insert(.exclusive) }
    switch begin(parent, [name]) {
    case .failure(let error): request.fail(error)
    case .success(let (directory, paths)):
      let pending = wait(request, .change)
      let handle = requester.newHandle()
      send(.create(handle, paths[0], options, mode: mode & 0o1777)) { [self, options] reply in
        created(pending, handle, options, name, directory, PeerFilesystem.attributes(in: reply))
      }
    }
  }

  private func created(
    _ pending: PendingRequest, _ handle: Handle, _ options: OpenOptions, _ name: [UInt8], _ directory: Node,
    _ result: Result<Attributes, Errno>
  ) {
    let request = pending.take()
    let made = state.withLock { state -> (FUSEEntry, OpenFile)? in
      directory.endChange(at: .now)
      guard case .success(let attributes) = result, attributes.type == .regular else {
        directory.dropListing(&state)
        return nil
      }
      let asked = Instant.now
      let node = state.tree.enter(name, in: directory, attributes, asked: asked)
      directory.listing?.set(name, attributes, asked: asked)
      let file = OpenFile(handle: handle, node: node, options: options.subtracting([.exclusive, .truncate]))
      node.files.append(file)
      state.files[handle.rawValue] = file
      node.cachedVersion = nil
      return (entry(for: node, now: .now, nameValidity: self.options.entryTimeout), file)
    }
    guard let (entry, file) = made else {
      if case .failure(let error) = result {
        request?.fail(error == .ioError && !requester.isOnline ? .socketNotConnected : error)
      } else {
        send(.close(handle)) { _ in }
        request?.fail(.ioError)
      }
      return
    }
    guard let request else {
      close(file)
      return undo(lookupOf: entry.node)
    }
    let opened = FUSEOpenFile(handle: handle.rawValue, isDirect: options.contains(.append))
    if !request.reply(entry: entry, opened: opened) {
      close(file)
      undo(lookupOf: entry.node)
    }
  }

  func release(_ request: consuming FUSERequest, node: UInt64, handle: UInt64) {
    let file = state.withLock { $0.files[handle] }
    request.succeed()
    if let file { close(file) }
  }

  /// Forgets an open file; the peer is told when its writes are done.
  func close(_ file: OpenFile) {
    let abandoned = state.withLock { state -> [UInt64] in
      state.files[file.handle.rawValue] = nil
      _ = file.stream.invalidate()
      defer { file.requests = [:] }
      return Array(file.requests.values)
    }
    for request in abandoned { requester.abandon(request) }
    afterWrites(of: file.node) { [self] in
      send(.close(file.handle)) { _ in }
      state.withLock { state in
        file.node.files.removeAll { $0 === file }
        if file.error != nil { state.lost += 1 }
        if file.node.isUnsynced, file.node.files.isEmpty, let path = try? state.tree.path(of: file.node) {
          state.unsynced.closed(file.node, path)
        }
        state.tree.collect(file.node)
      }
    }
  }

  func fsync(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, dataOnly: Bool) {
    guard let file = state.withLock({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    let pending = wait(request, .change)
    afterWrites(of: file.node) { [self] in
      // What is acknowledged from here on may not be covered.
      state.withLock { _ in file.node.isUnsynced = false }
      send(.fsync(file.handle, dataOnly: dataOnly)) { [self] reply in
        let error =
          state.withLock { state in
            if reply.error == nil { state.unsynced.synced(file.node) } else { file.node.isUnsynced = true }
            return file.takeError()
          } ?? reply.error
        if let error { return pending.fail(error) }
        if let request = pending.take() { request.succeed() }
      }
    }
  }

  func flush(_ request: consuming FUSERequest, node: UInt64, handle: UInt64) {
    let (file, isIdle, error) = state.withLock { state -> (OpenFile?, Bool, Errno?) in
      guard let file = state.files[handle] else { return (nil, true, nil) }
      guard file.node.writes.isIdle else { return (file, false, nil) }
      return (file, true, file.takeError())
    }
    guard let file else { return _ = request.fail(.badFileDescriptor) }
    if isIdle {
      if let error { request.fail(error) } else { request.succeed() }
      return
    }
    let pending = wait(request, .flush)
    watch(pending)
    afterWrites(of: file.node) { [self] in
      guard let request = pending.take() else { return }
      let error = state.withLock { _ in file.takeError() }
      if let error { request.fail(error) } else { request.succeed() }
    }
  }

  func fallocate(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int64, mode: Int32
  ) {
    guard let file = state.withLock({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    guard offset >= 0, count > 0 else { return _ = request.fail(.invalidArgument) }
    guard offset <= Limits.Wire.fileSize, count <= Limits.Wire.fileSize - offset else {
      return _ = request.fail(.fileTooLarge)
    }
    // Keep size, punch hole, zero range; nothing that moves contents.
    guard mode & ~(1 | 2 | 16) == 0 else { return _ = request.fail(.notSupported) }
    let pending = wait(request, .change)
    let file2 = file
    afterWrites(of: file.node) { [self] in
      let node = file2.node
      let dropped = state.withLock { _ -> [UInt64] in
        node.beginChange(at: .now)
        node.cachedVersion = nil
        return node.invalidateStreams()
      }
      for request in dropped { requester.abandon(request) }
      send(.allocate(file2.handle, offset: offset, count: count, mode: UInt32(mode))) { [self] reply in
        state.withLock { _ in
          node.endChange(at: .now)
          node.parent?.listing?.forgetAttributes(of: node.name)
        }
        if let error = reply.error { return pending.fail(error) }
        if let request = pending.take() { request.succeed() }
      }
    }
  }

  func lseek(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, whence: Int32) {
    guard let file = state.withLock({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    guard let target = SeekTarget(rawValue: UInt8(clamping: whence)) else { return _ = request.fail(.invalidArgument) }
    guard offset >= 0, offset <= Limits.Wire.fileSize else { return _ = request.fail(Errno(rawValue: ENXIO)) }
    let pending = wait(request, .query)
    afterWrites(of: file.node) { [self] in
      send(.seek(file.handle, offset: offset, target)) { reply in
        if let error = reply.error { return pending.fail(error) }
        guard let place = try? reply.offset() else { return pending.fail(.ioError) }
        if let request = pending.take() { request.reply(offset: place) }
      }
    }
  }
}

extension OpenOptions {
  /// What the flags of open(2) ask for.
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

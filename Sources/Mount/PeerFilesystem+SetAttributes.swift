import P2PFSCore
import P2PFSFUSE
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// setattr: a change of attributes means the file that the kernel names, whatever has its name by now.
extension PeerFilesystem {
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

  /// Sends a change, again by another name or handle if the one that it was sent by turns out to be gone, or another
  /// file's. A program that names the file by a path means what has the name: the kernel walks the path once more.
  private func sendChanges(
    _ pending: PendingRequest, _ node: Node, _ handle: UInt64?, _ changes: AttributeChanges,
    tries: Int = Limits.Mount.targets
  ) {
    let (target, settles) = locked { state -> (Result<Target, Errno>, Bool) in
      let target = state.target(node, handle)
      guard case .success = target, tries > 0 else {
        return (tries > 0 ? target : .failure(.staleNFSFileHandle), false)
      }
      node.beginChange(at: .now)
      if changes.size != nil {
        node.cachedVersion = nil
        state.tree.effects.abandoned += node.invalidateStreams()
      }
      return (target, state.settle(node, changes))
    }
    guard case .success(let target) = target else {
      if case .failure(let error) = target {
        // Nobody asks again for a descriptor.
        pending.fail(ProcessThread(pending.process).isInCallWithPath ? tried(error, by: pending.process) : error)
      }
      return
    }
    // Pages that were changed through a mapping before this are written now, so that they do not set the time later.
    if settles { session?.invalidate(contentsOf: node.id) }
    send(.setattr(target, changes)) { [self] reply in
      let result = PeerFilesystem.attributes(in: reply)
      let answer = locked { state -> (FUSEAttributes, Double) in
        node.endChange(at: .now)
        if case .success = result { state.staleThreads[pending.process] = nil }
        if case .success(let attributes) = result, RemoteFile(attributes) == node.remote {
          state.tree.learn(attributes, of: node, asked: .now)
        }
        state.noteChange(ofLinks: node, .now)
        if node.isKnown { node.noteInListings(node.attributes, asked: node.asked) }
        let validity = node.validity(at: .now, timeout: options.attributeTimeout)
        return (told(node, now: .now, validity), validity)
      }
      switch (result, target) {
      case (.success, _): pending.answer { request in request.reply(attributes: answer.0, timeout: answer.1) }
      case (.failure(let error), .path(let place))
      where error == .staleNFSFileHandle || error == .noSuchFileOrDirectory:
        doubt([node])
        forgetName(of: node, place.path, isTaken: error == .staleNFSFileHandle)
        if ProcessThread(pending.process).isInCallWithPath {
          return pending.fail(tried(.staleNFSFileHandle, by: pending.process))
        }
        sendChanges(pending, node, handle, changes, tries: tries - 1)
      // By a handle of somebody else, who has closed it meanwhile.
      case (.failure(.badFileDescriptor), .handle) where handle == nil:
        sendChanges(pending, node, nil, changes, tries: tries - 1)
      case (.failure(let error), _): pending.fail(tried(error, by: pending.process))
      }
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
      return .success(.path(try tree.place(of: node)))
    } catch {
      // Rather by one that no program has closed.
      let open = node.files.filter { $0.lost == nil && files[$0.handle.rawValue] != nil }
      let file = open.first { $0.options.contains(.write) } ?? open.first ?? node.files.first
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
}

extension Timestamp {
  init(_ time: FUSEAttributes.Time) {
    self.init(seconds: time.seconds, nanoseconds: min(time.nanoseconds, 999_999_999))
  }
}

import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Files that are open: release, flush, fsync, fallocate, lseek.
extension PeerFilesystem {
  func release(_ request: consuming FUSERequest, node: UInt64, handle: UInt64) {
    let file = locked { $0.files[handle] }
    request.succeed()
    if let file { close(file) }
  }

  /// Forgets an open file; the peer is told when its writes are done.
  func close(_ file: OpenFile) {
    endAppend(of: file)
    let (abandoned, isKnown) = locked { state -> ([UInt64], Bool) in
      let isKnown = state.files.removeValue(forKey: file.handle.rawValue) != nil
      _ = file.stream.invalidate()
      file.stream.leave()
      defer { file.requests = [:] }
      return (Array(file.requests.values), isKnown)
    }
    guard isKnown else { return }
    for request in abandoned { requester.abandon(request) }
    afterWrites(of: file.node) { [self] in
      let touches = file.isRead && !options.kernelFlags.contains("noatime")
      send(.close(file.handle, accessed: touches)) { _ in }
      let loss = locked { state -> [UInt8]? in
        let node = file.node
        node.files.removeAll { $0 === file }
        // The peer may set another access time, and blocks that were set aside are given back.
        if touches || file.options.contains(.write) { node.distrust() }
        defer { state.tree.collect(node) }
        if node.isUnsynced, node.files.isEmpty, let path = try? state.tree.path(of: node) {
          state.unsynced.closed(node, path)
        }
        guard file.failure.isSecret else { return nil }
        return state.noteLoss(of: node)
      }
      if let loss {
        log.error(
          "\(String(decoding: loss, as: UTF8.self).escaped): what a program has written is lost, and the program was not told"
        )
      }
    }
  }

  func fsync(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, dataOnly: Bool) {
    guard let file = locked({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    endAppend(of: file)
    let pending = wait(request)
    afterSending(file.node) { [self] in
      let covered = locked { _ in file.node.beginSync() }
      // On the lane of the writes, behind them.
      requester.send(Request.fsync(file.handle, dataOnly: dataOnly).encoded(), on: .bulk) { [self] reply in
        let error = locked { state -> Errno? in
          let error = file.failure.takeForFsync() ?? file.lost ?? reply.error
          file.told = error == nil ? nil : covered
          if error == nil {
            file.node.endSync(covered)
            state.unsynced.synced(file.node)
          }
          return error
        }
        if let error { return pending.fail(error) }
        if let request = pending.take() { request.succeed() }
      }
    }
  }

  func flush(_ request: consuming FUSERequest, node: UInt64, handle: UInt64) {
    guard let file = locked({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    endAppend(of: file)
    let (isWritten, isTold, error) = locked { _ -> (Bool, Bool, Errno?) in
      defer { file.isWritten = false }
      let isTold = file.told == file.node.writes.lastNumber
      // A file that the peer does not know any more has nothing to close there.
      let isWritten = file.isWritten && file.lost == nil
      return (isWritten, isTold, isWritten ? nil : file.failure.tellForFlush())
    }
    guard isWritten else {
      if let error { request.fail(error) } else { request.succeed() }
      return
    }
    let pending = wait(request, .flush) { [self] in giveUp(file) }
    // Whoever closes the file may be past signals.
    watch(pending)
    afterSending(file.node) { [self] in
      requester.send(Request.flush(file.handle).encoded(), on: .bulk) { [self] reply in
        let error = locked { _ -> Errno? in
          if let error = reply.error, !isTold { _ = file.failure.note(error) }
          return file.failure.tellForFlush()
        }
        guard let request = pending.take() else { return }
        if let error { request.fail(error) } else { request.succeed() }
      }
    }
  }

  /// The process that wrote a file was killed. What it has queued is a copy that nobody wants any more, unless it is
  /// little: then it may be the last words of a log.
  func giveUp(_ file: OpenFile) {
    let (count, path, barriers) = locked { state -> (Int, [UInt8], [@Sendable () -> Void]) in
      let node = file.node
      let unsent = node.writes.unsentBytes { $0.operation?.file === file }
      guard unsent > Limits.Mount.unsentOfKilled else { return (0, [], []) }
      let (_, barriers) = node.writes.withdraw { $0.operation?.file === file }
      state.tree.collect(node)
      return (unsent, (try? state.tree.path(of: node))?.bytes ?? [], barriers + node.writes.departed())
    }
    if count > 0 {
      log.notice(
        "\(String(decoding: path, as: UTF8.self).escaped): \(count) bytes were not sent, since their program was killed"
      )
    }
    for barrier in barriers { barrier() }
    pump()
  }

  func fallocate(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int64, mode: Int32
  ) {
    guard let file = locked({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    guard offset >= 0, count > 0 else { return _ = request.fail(.invalidArgument) }
    guard offset <= Limits.Wire.fileSize, count <= Limits.Wire.fileSize - offset else {
      return _ = request.fail(.fileTooLarge)
    }
    // Keep size, punch hole, zero range; nothing that moves contents.
    guard mode & ~(1 | 2 | 16) == 0 else { return _ = request.fail(.notSupported) }
    let pending = wait(request)
    afterWrites(of: file.node) { [self] in
      let node = file.node
      locked { state in
        node.beginChange(at: .now)
        node.cachedVersion = nil
        state.tree.effects.abandoned += node.invalidateStreams()
      }
      send(.allocate(file.handle, offset: offset, count: count, mode: UInt32(mode))) { [self] reply in
        locked { state in
          node.endChange(at: .now)
          state.noteChange(ofLinks: node, .now)
        }
        if let error = reply.error { return pending.fail(error) }
        if let request = pending.take() { request.succeed() }
      }
    }
  }

  func lseek(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, whence: Int32) {
    guard let file = locked({ $0.files[handle] }) else { return _ = request.fail(.badFileDescriptor) }
    guard let target = SeekTarget(rawValue: UInt8(clamping: whence)) else { return _ = request.fail(.invalidArgument) }
    guard offset >= 0, offset <= Limits.Wire.fileSize else { return _ = request.fail(Errno(rawValue: ENXIO)) }
    let pending = wait(request)
    afterWrites(of: file.node) { [self] in
      send(.seek(file.handle, offset: offset, target)) { reply in
        if let error = reply.error { return pending.fail(error) }
        guard let place = try? reply.offset() else { return pending.fail(.ioError) }
        if let request = pending.take() { request.reply(offset: place) }
      }
    }
  }
}

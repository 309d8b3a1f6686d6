import Core
import DequeModule
import FUSE
import Glibc
import Session
import Synchronization
import SystemPackage
import Wire

/// Writes, and writing behind.
extension PeerFilesystem {
  func write(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, bytes: UnsafeRawBufferPointer
  ) {
    guard offset >= 0, offset <= Limits.Wire.fileSize - Int64(bytes.count) else {
      return _ = request.fail(.fileTooLarge)
    }
    let (file, error) = state.withLock { state -> (OpenFile?, Errno?) in
      (state.files[handle], state.files[handle]?.takeError())
    }
    guard let file else { return _ = request.fail(.badFileDescriptor) }
    if let error { return _ = request.fail(error) }
    guard bytes.count > 0 else { return _ = request.reply(written: 0) }
    // The only copy: from FUSE's buffer into the messages.
    var parts: [(frame: Frame, range: Range<Int>)] = []
    var start = 0
    while start < bytes.count {
      let end = min(start + Limits.Wire.data, bytes.count)
      let frame = Request.writeFrame(file.handle, offset: offset + Int64(start), count: end - start)
      frame.write(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
      parts.append((frame, start..<end))
      start = end
    }
    let operation = WriteOperation(file: file, count: bytes.count, pending: wait(request, .change))
    let isAppend = file.options.contains(.append)
    let dropped = state.withLock { state -> [UInt64] in
      let node = file.node
      let wasIdle = node.writes.isIdle
      for part in parts {
        let range = offset + Int64(part.range.lowerBound)..<offset + Int64(part.range.upperBound)
        node.writes.add(
          WritePart(operation: operation, frame: part.frame, bytes: part.range.count), range: isAppend ? 0..<0 : range,
          bytes: part.range.count)
      }
      operation.unsent = parts.count
      operation.unanswered = parts.count
      node.changed = .now
      node.cachedVersion = nil
      if wasIdle { node.parent?.listing?.forgetAttributes(of: node.name) }
      state.ready.append(node)
      return node.invalidateStreams()
    }
    for request in dropped { requester.abandon(request) }
    pump()
  }

  /// Sends what may be sent, in order; one thread at a time.
  private func pump() {
    while true {
      let (parts, isOver) = state.withLock { state -> ([(Node, UInt64, WritePart)], Bool) in
        if state.isPumping {
          state.pumpAgain = true
          return ([], true)
        }
        let parts = state.nextWrites(credit: min(requester.writeCredit, Limits.Mount.writeBehind))
        state.isPumping = !parts.isEmpty
        return (parts, parts.isEmpty)
      }
      if isOver { return }
      for (node, number, part) in parts {
        requester.send(part.frame, on: .bulk) { [self] reply in
          acknowledged(node, number, part, reply.error)
        }
      }
      let done = state.withLock { state -> [(PendingRequest, Int)] in
        state.isPumping = false
        state.pumpAgain = false
        return parts.compactMap { _, _, part in part.operation.takeSent() }
      }
      for (pending, count) in done {
        if let request = pending.take() { request.reply(written: count) }
      }
    }
  }

  /// The peer has done a write, or failed.
  private func acknowledged(_ node: Node, _ number: UInt64, _ part: WritePart, _ error: Errno?) {
    let (barriers, answer) = state.withLock { state in
      state.unacknowledged -= part.bytes
      state.writesUnderWay -= 1
      let operation = part.operation
      operation.unanswered -= 1
      if let error {
        operation.error = operation.error ?? error
      } else {
        operation.written += part.bytes
        node.isUnsynced = true
      }
      node.changed = .now
      if let error, operation.pending == nil {
        // The program was told that it is written: everyone who has the file open learns that it is not.
        for file in node.files { file.error = file.error ?? error }
      }
      let barriers = node.writes.done(number)
      if node.writes.isWaiting { state.ready.append(node) }
      if node.writes.isIdle { state.tree.collect(node) }
      return (barriers, operation.takeAnswer())
    }
    if let (pending, result) = answer {
      switch result {
      case .success(let count): if let request = pending.take() { request.reply(written: count) }
      case .failure(let error): pending.fail(error)
      }
    }
    if error != nil { session?.invalidate(contentsOf: node.id) }
    for barrier in barriers { barrier() }
    pump()
  }

  /// Does something when all writes of a file that were begun until now are done: now, if there are none.
  func afterWrites(of node: Node, _ action: @escaping @Sendable () -> Void) {
    if state.withLock({ _ in node.writes.wait(action) }) { action() }
  }
}

extension PeerFilesystem.State {
  /// Takes what may be sent now out of the queues, the files in turn.
  mutating func nextWrites(credit: Int) -> [(Node, UInt64, WritePart)] {
    var parts: [(Node, UInt64, WritePart)] = []
    while writesUnderWay < Limits.Mount.writes, let node = ready.first {
      // A piece larger than all credit goes alone.
      let left = unacknowledged == 0 ? Int.max : credit - unacknowledged
      guard let piece = node.writes.next(credit: left) else {
        // What waits for an overlapping write comes back when that is done; what waits for credit stays.
        if node.writes.isWaiting, !node.writes.isBlocked { break }
        ready.removeFirst()
        continue
      }
      unacknowledged += piece.bytes
      writesUnderWay += 1
      let operation = piece.payload.operation
      operation.unsent -= 1
      operation.sent += piece.bytes
      parts.append((node, piece.number, piece.payload))
      ready.removeFirst()
      if node.writes.isWaiting { ready.append(node) }
      if parts.count == 64 { break }
    }
    return parts
  }
}

extension WriteOperation {
  private var isAppend: Bool { file.options.contains(.append) }

  /// The kernel's request, if the last piece has been sent and that is enough to answer it. Under the lock.
  func takeSent() -> (PendingRequest, Int)? {
    guard !isAppend, unsent == 0, error == nil, let pending else { return nil }
    self.pending = nil
    return (pending, count)
  }

  /// The kernel's request, if it is to be answered by what the peer said. Under the lock.
  func takeAnswer() -> (PendingRequest, Result<Int, Errno>)? {
    guard let pending, unanswered == 0 || (error != nil && unsent == 0 && unanswered == 0) else { return nil }
    self.pending = nil
    guard let error else { return (pending, .success(count)) }
    // Pieces of an append are done in order: what is in the file is the beginning.
    return (pending, isAppend && written > 0 ? .success(written) : .failure(error))
  }
}

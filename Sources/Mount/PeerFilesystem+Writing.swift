import Core
import DequeModule
import FUSE
import Glibc
import Logging
import Session
import Synchronization
import SystemPackage
import Wire

/// Writes, and writing behind.
extension PeerFilesystem {
  func write(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, bytes: UnsafeRawBufferPointer,
    flags: Int32, isWriteback: Bool
  ) {
    guard offset >= 0, offset <= Limits.Wire.fileSize - Int64(bytes.count) else {
      return _ = request.fail(.fileTooLarge)
    }
    let (file, error) = locked { state -> (OpenFile?, Errno?) in
      // The kernel writes pages by any descriptor of the file, perhaps one whose program is not to blame.
      guard let file = state.files[handle] else { return (nil, nil) }
      return (file, file.lost ?? (isWriteback ? nil : file.failure.takeForWrite()))
    }
    guard let file else { return _ = request.fail(.badFileDescriptor) }
    if let error { return _ = request.fail(error) }
    guard bytes.count > 0 else { return _ = request.reply(written: 0) }
    let isAppend = flags & O_APPEND != 0 && !isWriteback
    let process = request.process
    let (continues, hasMore) = isAppend ? appendGoesOn(file, process, offset, bytes.count) : (false, false)
    let frames = PeerFilesystem.frames(file.handle, offset, bytes, isAppend: isAppend, hasMore: hasMore)
    let operation = WriteOperation(
      file: file, count: bytes.count, offset: offset, isAppend: isAppend,
      isSynchronous: flags & (O_SYNC | O_DSYNC) != 0 && !isWriteback && !hasMore, hasMore: hasMore,
      continues: continues)
    let pending = wait(request) { [self] in withdraw(operation) }
    locked { state in
      operation.pending = pending
      operation.unsent = isAppend ? 1 : frames.count
      operation.unanswered = operation.unsent
      let node = file.node
      let wasIdle = node.writes.isIdle
      if isAppend {
        let part = WritePart(operation: operation, frames: frames.map(\.frame), bytes: bytes.count)
        node.writes.add(part, range: 0..<0, bytes: bytes.count)
      } else {
        for (frame, range) in frames {
          node.writes.add(
            WritePart(operation: operation, frames: [frame], bytes: range.count),
            range: offset + Int64(range.lowerBound)..<offset + Int64(range.upperBound), bytes: range.count)
        }
      }
      state.settle(again: node, isWriteback: isWriteback)
      file.isWritten = true
      node.touch(at: .now)
      node.cachedVersion = nil
      node.hasPages = true
      if wasIdle { state.noteChange(ofLinks: node, .now) }
      state.ready.append(node)
      state.tree.effects.abandoned += node.invalidateStreams()
    }
    pump()
  }

  /// Cuts a write into messages: the only copy, from FUSE's buffer.
  private static func frames(
    _ handle: Handle, _ offset: Int64, _ bytes: UnsafeRawBufferPointer, isAppend: Bool, hasMore: Bool
  ) -> [(frame: Frame, range: Range<Int>)] {
    var parts: [(frame: Frame, range: Range<Int>)] = []
    parts.reserveCapacity((bytes.count + Limits.Wire.data - 1) / Limits.Wire.data)
    var start = 0
    while start < bytes.count {
      let end = min(start + Limits.Wire.data, bytes.count)
      let frame =
        isAppend
        ? Request.appendFrame(handle, more: hasMore || end < bytes.count, count: end - start)
        : Request.writeFrame(handle, offset: offset + Int64(start), count: end - start)
      frame.write(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
      parts.append((frame, start..<end))
      start = end
    }
    return parts
  }

  // MARK: Appends that the kernel cuts

  /// Whether the kernel is going to send more of the append that this request is a part of. It cuts a write(2) at its
  /// largest request; the whole of it is one append, as far as `Limits.Wire.append` goes.
  /// - Returns: whether it is more of one that has begun, and whether more follows.
  private func appendGoesOn(
    _ file: OpenFile, _ process: Int32, _ offset: Int64, _ count: Int
  ) -> (continues: Bool, hasMore: Bool) {
    let before = locked { _ -> Int? in
      guard let group = file.append else { return 0 }
      return group.process == process && group.next == offset ? group.bytes : nil
    }
    if before == nil { endAppend(of: file) }
    let bytes = (before ?? 0) + count
    let total = count >= Limits.Mount.cutWrite ? ProcessThread(process).writeCount ?? bytes : bytes
    let goesOn = total > bytes && bytes + Limits.Mount.cutWrite < Limits.Wire.append
    locked { _ in
      file.append = goesOn ? AppendGroup(process: process, next: offset + Int64(count), bytes: bytes) : nil
    }
    return ((before ?? 0) > 0, goesOn)
  }

  /// Ends an append whose rest does not come: its process was killed between two requests.
  func endAppend(of file: OpenFile) {
    let isOpen = locked { state -> Bool in
      guard file.append != nil else { return false }
      file.append = nil
      let operation = WriteOperation(
        file: file, count: 0, offset: 0, isAppend: true, isSynchronous: false, hasMore: false,
        continues: true)
      operation.unsent = 1
      operation.unanswered = 1
      file.node.writes.add(
        WritePart(
          operation: operation, frames: [Request.appendFrame(file.handle, more: false, count: 0)], bytes: 0),
        range: 0..<0, bytes: 0)
      state.ready.append(file.node)
      return true
    }
    if isOpen { pump() }
  }

  // MARK: Sending

  /// The process of a write was killed before it was told of anything: what was not sent is not.
  private func withdraw(_ operation: WriteOperation) {
    let barriers = locked { state -> [@Sendable () -> Void] in
      operation.pending = nil
      // Of an append that has begun to leave the exporter waits for the end.
      guard operation.unsent > 0, !operation.isPart else { return [] }
      let node = operation.file.node
      let (parts, barriers) = node.writes.withdraw { $0.operation === operation }
      operation.unsent -= parts.count
      operation.unanswered -= parts.count
      state.tree.collect(node)
      return barriers + node.writes.departed()
    }
    for barrier in barriers { barrier() }
  }

  /// Sends what may be sent, in order; one thread at a time.
  func pump() {
    while true {
      let (parts, isOver) = locked { state -> ([(Node, UInt64, WritePart)], Bool) in
        if state.isPumping {
          state.pumpAgain = true
          return ([], true)
        }
        let parts = state.nextWrites(credit: min(requester.writeCredit, Limits.Mount.writeBehind))
        state.isPumping = !parts.isEmpty
        return (parts, parts.isEmpty)
      }
      if isOver { return }
      for (node, number, part) in parts { send(part, number, of: node) }
      let (done, barriers) = locked { state -> ([(PendingRequest, Int)], [@Sendable () -> Void]) in
        state.isPumping = false
        state.pumpAgain = false
        return (parts.compactMap { _, _, part in part.operation?.takeSent() }, parts.flatMap { $0.0.writes.departed() })
      }
      for (pending, count) in done {
        if let request = pending.take() { request.reply(written: count) }
      }
      for barrier in barriers { barrier() }
    }
  }

  private func send(_ part: WritePart, _ number: UInt64, of node: Node) {
    guard let last = part.frames.last else { return }
    // All of an append are answered with the same.
    for frame in part.frames.dropLast() { requester.send(frame, on: .bulk) { _ in } }
    requester.send(last, on: .bulk) { [self] reply in acknowledged(node, number, part, reply) }
    // Behind the last part, so that it costs no further round trip.
    guard let operation = part.operation, operation.isSynchronous,
      locked({ _ in operation.unsent == 0 && operation.takeSynchronous() })
    else { return }
    let covered = locked { _ in node.beginSync() }
    requester.send(Request.fsync(operation.file.handle, dataOnly: false).encoded(), on: .bulk) { [self] reply in
      let answer = locked { _ in
        if reply.error == nil { node.endSync(covered) }
        return operation.takeSynced(reply.error)
      }
      if let answer { PeerFilesystem.answer(answer) }
    }
  }

  /// The peer has done a write, or failed.
  private func acknowledged(_ node: Node, _ number: UInt64, _ part: WritePart, _ reply: Reply) {
    let error = reply.error
    let (barriers, answer, loss, isMisplaced) = locked { state in
      state.unacknowledged -= part.bytes
      state.writesUnderWay -= 1
      node.touch(at: .now)
      if error == nil { node.acknowledged = max(node.acknowledged, number) }
      var loss: [UInt8]?
      var isMisplaced = false
      if let operation = part.operation {
        operation.unanswered -= 1
        if operation.isAppend, operation.unanswered == 0, !operation.hasMore {
          operation.appended = try? reply.appended()
          // Another has appended meanwhile: the kernel believes the bytes to be elsewhere.
          isMisplaced = operation.appended?.offset != operation.offset && !operation.file.options.contains(.append)
        }
        if let error {
          operation.error = operation.error ?? error
          if operation.pending == nil { loss = state.noteFailure(of: node, error) }
        }
      }
      let barriers = node.writes.done(number)
      if node.writes.isWaiting { state.ready.append(node) }
      // What was asked for meanwhile may lack it.
      state.tree.effects.abandoned += node.invalidateStreams()
      if node.writes.isIdle { state.tree.collect(node) }
      return (barriers, part.operation?.takeAnswer(), loss, isMisplaced)
    }
    if let loss, let error {
      log.error("\(String(decoding: loss, as: UTF8.self).escaped): what a program has written is lost: \(error)")
    }
    if let answer { PeerFilesystem.answer(answer) }
    if error != nil || isMisplaced { session?.invalidate(contentsOf: node.id) }
    for barrier in barriers { barrier() }
    pump()
  }

  private static func answer(_ answer: (pending: PendingRequest, result: Result<Int, Errno>)) {
    switch answer.result {
    case .success(let count): if let request = answer.pending.take() { request.reply(written: count) }
    case .failure(let error): answer.pending.fail(error)
    }
  }

  /// Does something when all writes of a file that were begun until now are done: now, if there are none.
  func afterWrites(of node: Node, _ action: @escaping @Sendable () -> Void) {
    if locked({ _ in node.writes.wait(action) }) { action() }
  }

  /// Does something when all writes of a file that were begun until now are on their way, in front of what is sent on
  /// the lane of the writes from then on.
  func afterSending(_ node: Node, _ action: @escaping @Sendable () -> Void) {
    if locked({ _ in node.writes.waitSent(action) }) { action() }
  }
}

extension PeerFilesystem.State {
  /// Takes what may be sent now out of the queues, the files in turn.
  mutating func nextWrites(credit: Int) -> [(Node, UInt64, WritePart)] {
    var parts: [(Node, UInt64, WritePart)] = []
    while writesUnderWay < Limits.Mount.writes, let node = ready.first {
      // A piece larger than all credit goes alone; and the rest of an append must not wait for its beginning.
      let isRest = node.writes.first?.operation?.continues ?? false
      let left = unacknowledged == 0 || isRest ? Int.max : credit - unacknowledged
      guard let piece = node.writes.next(credit: left) else {
        // What waits for an overlapping write comes back when that is done; what waits for credit stays.
        if node.writes.isWaiting, !node.writes.isBlocked { break }
        ready.removeFirst()
        continue
      }
      unacknowledged += piece.bytes
      writesUnderWay += 1
      piece.payload.operation?.unsent -= 1
      parts.append((node, piece.number, piece.payload))
      ready.removeFirst()
      if node.writes.isWaiting { ready.append(node) }
      if parts.count == 64 { break }
    }
    return parts
  }

  /// A write that a program was told to be done has failed: everyone who has the file open learns of it.
  /// - Returns: the path, if it is to be logged.
  mutating func noteFailure(of node: Node, _ error: Errno) -> [UInt8]? {
    var isFirst = node.files.isEmpty
    for file in node.files where file.failure.note(error) { isFirst = true }
    guard isFirst else { return nil }
    return node.files.isEmpty ? noteLoss(of: node) : (try? tree.path(of: node))?.bytes ?? []
  }

  /// A file was closed and nobody was told that its writes had failed.
  /// - Returns: its path.
  mutating func noteLoss(of node: Node) -> [UInt8] {
    let path = (try? tree.path(of: node))?.bytes ?? []
    lost += 1
    if lostPaths.count < Limits.Mount.lostPaths, !lostPaths.contains(path) { lostPaths.append(path) }
    return path
  }

  /// Has the time that a program has set be set again behind pages that were changed before that; any other write is
  /// newer than it.
  mutating func settle(again node: Node, isWriteback: Bool) {
    guard let settled = node.settled else { return }
    let now = Instant.now
    guard isWriteback, now < settled.until, case .success(let target) = target(node, nil) else {
      node.settled = nil
      return
    }
    node.settled?.until = now.advanced(by: Limits.Mount.settling)
    let changes = AttributeChanges(modified: .set(settled.time))
    node.writes.add(
      WritePart(operation: nil, frames: [Request.setattr(target, changes).encoded()], bytes: 0),
      range: 0..<Int64.max, bytes: 0)
  }
}

extension WriteOperation {
  /// Whether it is a part of an append that the kernel has cut.
  var isPart: Bool { hasMore || continues }

  /// The kernel's request, if the last piece has been sent and that is enough to answer it. Under the lock.
  func takeSent() -> (PendingRequest, Int)? {
    guard !isAppend || hasMore, !isSynchronous, unsent == 0, error == nil, let pending else { return nil }
    self.pending = nil
    return (pending, count)
  }

  /// Whether the fsync behind it is to be sent. Under the lock, once.
  func takeSynchronous() -> Bool {
    defer { awaitsSync = true }
    return !awaitsSync
  }

  /// The kernel's request, when the fsync behind it has ended. Under the lock.
  func takeSynced(_ error: Errno?) -> (PendingRequest, Result<Int, Errno>)? {
    awaitsSync = false
    isSynced = true
    self.error = self.error ?? error
    return takeAnswer()
  }

  /// The kernel's request, if it is to be answered by what the peer said. Under the lock.
  func takeAnswer() -> (PendingRequest, Result<Int, Errno>)? {
    guard let pending, unanswered == 0, !isSynchronous || isSynced || error != nil else { return nil }
    self.pending = nil
    if let error { return (pending, .failure(error)) }
    // Of an append the beginning may have been written.
    return (pending, .success(appended.map { min(count, Int($0.count)) } ?? count))
  }
}

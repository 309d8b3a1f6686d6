import P2PFSCore
import DequeModule
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

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
    if flags & O_APPEND != 0, !isWriteback { return append(request, file, offset, bytes, flags) }
    let operation = WriteOperation(
      file: file, count: bytes.count, offset: offset, isAppend: false, isSynchronous: false)
    let parts = PeerFilesystem.cut(bytes.count).map { range in
      let frame = Request.writeFrame(file.handle, offset: offset + Int64(range.lowerBound), count: range.count)
      frame.write(UnsafeRawBufferPointer(rebasing: bytes[range]))
      return (WritePart(operation: operation, frames: [frame], bytes: range.count), range)
    }
    let pending = wait(request) { [self] in withdraw(operation) }
    locked { state in
      operation.pending = pending
      let node = file.node
      for (part, range) in parts {
        let place = offset + Int64(range.lowerBound)..<offset + Int64(range.upperBound)
        node.writes.add(part, at: .range(place), bytes: range.count)
      }
      state.begin(operation, pieces: parts.count, isWriteback: isWriteback)
    }
    pump()
  }

  /// The ranges of a write, one for each message: the only copy is from FUSE's buffer into these.
  private static func cut(_ count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: Limits.Wire.data).map { $0..<min($0 + Limits.Wire.data, count) }
  }

  // MARK: Appends

  /// Appends: one append at the peer for one write(2) or writev(2), which the kernel cuts at its largest request. Of a longer one the
  /// beginning is kept until the rest is here, as far as `Limits.Wire.append` goes.
  private func append(
    _ request: consuming FUSERequest, _ file: OpenFile, _ offset: Int64, _ bytes: UnsafeRawBufferPointer, _ flags: Int32
  ) {
    let process = request.process
    let frames = PeerFilesystem.cut(bytes.count).map { range in
      let frame = Request.appendFrame(file.handle, more: true, count: range.count)
      frame.write(UnsafeRawBufferPointer(rebasing: bytes[range]))
      return frame
    }
    let continues = locked { _ in file.append.map { $0.process == process && $0.next == offset } ?? true }
    if !continues { endAppend(of: file) }
    let end = offset + Int64(bytes.count)
    let total = bytes.count >= Limits.Mount.cutAppend ? ProcessThread(process).writeCount ?? 0 : 0
    let most = min(Limits.Wire.append, requester.writeCredit)
    let (group, isKept) = locked { _ -> (AppendGroup, Bool) in
      var group = file.append ?? AppendGroup(process: process, next: offset)
      let before = group.bytes
      group.next = end
      group.bytes += bytes.count
      group.frames += frames
      let isKept = total - before > bytes.count && total <= most
      file.append = isKept ? group : nil
      return (group, isKept)
    }
    if isKept { return _ = request.reply(written: bytes.count) }
    let operation = WriteOperation(
      file: file, count: bytes.count, offset: offset, isAppend: true,
      // Of files that are written through the page cache the kernel asks for that by itself.
      isSynchronous: flags & (O_SYNC | O_DSYNC) != 0 && file.options.contains(.append),
      before: group.bytes - bytes.count)
    let pending = wait(request) { [self] in withdraw(operation) }
    locked { state in
      operation.pending = pending
      state.append(group, operation, credit: requester.writeCredit)
    }
    pump()
  }

  /// Sends the beginning of an append whose rest does not come: its process was killed between two requests.
  func endAppend(of file: OpenFile) {
    let isKept = locked { state -> Bool in
      guard let group = file.append else { return false }
      file.append = nil
      let operation = WriteOperation(
        file: file, count: 0, offset: 0, isAppend: true, isSynchronous: false, before: group.bytes)
      state.append(group, operation, credit: requester.writeCredit)
      return true
    }
    if isKept { pump() }
  }

  // MARK: Sending

  /// The process of a write was killed before it was told of anything: what was not sent is not.
  private func withdraw(_ operation: WriteOperation) {
    let barriers = locked { state -> [@Sendable () -> Void] in
      operation.pending = nil
      guard operation.unsent > 0, operation.before == 0 else { return [] }
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
        guard !state.isPumping else { return ([], true) }
        let parts = state.nextWrites(credit: min(requester.writeCredit, Limits.Mount.writeBehind))
        state.isPumping = !parts.isEmpty
        return (parts, parts.isEmpty)
      }
      if isOver { return }
      for (node, number, part) in parts { send(part, number, of: node) }
      let (done, barriers) = locked { state -> ([(PendingRequest, Int)], [@Sendable () -> Void]) in
        state.isPumping = false
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
        if operation.isAppend, let appended = try? reply.appended() {
          operation.appended += Int(appended.count)
          // Another has appended meanwhile: the kernel believes the bytes to be elsewhere.
          isMisplaced = appended.offset != operation.offset && !operation.file.options.contains(.append)
        }
        if let error {
          operation.error = operation.error ?? error
          // Of a write that the kernel has cut the program hears only of the beginning.
          if operation.pending == nil || operation.before > 0 { loss = state.noteFailure(of: node, error) }
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
      piece.payload.operation?.unsent -= 1
      parts.append((node, piece.number, piece.payload))
      ready.removeFirst()
      if node.writes.isWaiting { ready.append(node) }
      if parts.count == 64 { break }
    }
    return parts
  }

  /// A write waits to be sent, its pieces being in the queue.
  mutating func begin(_ operation: WriteOperation, pieces: Int, isWriteback: Bool = false) {
    operation.unsent = pieces
    operation.unanswered = pieces
    let node = operation.file.node
    settle(again: node, isWriteback: isWriteback)
    operation.file.isWritten = true
    node.touch(at: .now)
    node.cachedVersion = nil
    // The kernel asks for the size after each write.
    node.toldSize.until = Instant(nanoseconds: 0)
    node.hasPages = true
    noteChange(ofLinks: node, .now)
    ready.append(node)
    tree.effects.abandoned += node.invalidateStreams()
  }

  /// An append waits to be sent, as one piece; as several only if it is larger than all credit.
  mutating func append(_ group: AppendGroup, _ operation: WriteOperation, credit: Int) {
    let perPiece = group.bytes <= credit ? group.frames.count : max(credit / Limits.Wire.data, 1)
    var pieces = 0
    for start in stride(from: 0, to: group.frames.count, by: perPiece) {
      let frames = Array(group.frames[start..<min(start + perPiece, group.frames.count)])
      frames.last?.endAppend()
      let bytes = frames.reduce(0) { $0 + $1.count - Request.appendPrefix }
      operation.file.node.writes.add(
        WritePart(operation: operation, frames: frames, bytes: bytes), at: .end, bytes: bytes)
      pieces += 1
    }
    begin(operation, pieces: pieces)
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
      at: .range(0..<Int64.max), bytes: 0)
  }
}

extension WriteOperation {
  /// The kernel's request, if the last piece has been sent and that is enough to answer it. Under the lock.
  func takeSent() -> (PendingRequest, Int)? {
    guard !isAppend, !isSynchronous, unsent == 0, error == nil, let pending else { return nil }
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
    return (pending, .success(isAppend ? min(count, max(0, appended - before)) : count))
  }
}

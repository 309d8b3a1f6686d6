import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Reads, and reading ahead.
extension PeerFilesystem {
  func read(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int) {
    switch locked({ $0.read(handle, offset, count, online: requester.isOnline) }) {
    case .failed(let error): request.fail(error)
    case .nothing: request.reply(bytes: UnsafeRawBufferPointer(start: nil, count: 0))
    case .here(let answer, let file):
      deliver(answer.result, isCurrent: answer.isCurrent, to: request, of: file)
      for ask in answer.asks { self.ask(ask, file) }
    case .missing(let file): read(wait(request), file, offset, count)
    case .afterWrites(let file):
      let pending = wait(request)
      afterWrites(of: file.node) { [self] in read(pending, file, offset, count) }
    }
  }

  private func read(_ pending: PendingRequest, _ file: OpenFile, _ offset: Int64, _ count: Int) {
    let (answer, asks) = locked { state in
      let node = file.node
      node.readSinceCached &+= Int64(count)
      node.hasPages = true
      return file.stream.read(
        pending, at: offset, count: count, size: node.attributes.size,
        budget: state.readAheadBudget(online: requester.isOnline), current: node.contents, now: .now)
    }
    if let answer { deliver(answer, of: file) }
    for ask in asks { self.ask(ask, file) }
  }

  /// Asks the peer for a segment.
  private func ask(_ ask: ReadStream<PendingRequest>.Ask, _ file: OpenFile) {
    let request = Request.read(file.handle, offset: ask.offset, count: UInt32(ask.count))
    let sequence = send(request) { [self] reply in receive(reply, file, ask.segment) }
    locked { _ in
      if file.stream.unfinished.contains(ask.segment) { file.requests[ask.segment] = sequence }
    }
  }

  /// A reply for a segment; nil if the answer to an open has come without contents yet.
  func receive(
    _ reply: Reply?, _ file: OpenFile, _ segment: UInt64, opening: Bool = false, isLast: Bool = true
  ) {
    guard reply != nil || isLast else { return }
    let (answers, asks) = locked { state -> ([ReadStream<PendingRequest>.Answer], [ReadStream<PendingRequest>.Ask]) in
      if reply?.isLast ?? true { file.requests[segment] = nil }
      if let error = reply?.error { return (file.stream.fail(segment, error), []) }
      let now = Instant.now
      let node = file.node
      guard let reply, reply.body.count > 0 else {
        let (answers, asks, _) = file.stream.receive(
          nil, isLast: reply?.isLast ?? true, for: segment, current: node.contents, now: now)
        return (answers, asks)
      }
      // After a reconnection an open is answered again from its attributes on.
      if opening, reply.body.count == Attributes.length, let attributes = try? reply.attributes(),
        RemoteFile(attributes) == node.remote
      {
        let ask = file.stream.restart(segment)
        // Of its answer the peer has kept only these: the contents are to be asked for.
        return ([], reply.isLast ? [ask].compactMap { $0 } : [])
      }
      guard let piece = try? reply.piece() else { return (file.stream.fail(segment, .ioError), []) }
      if let asked = file.stream.asked(segment), node.noteContents(piece.version, asked: asked) == .news {
        node.distrust()
        state.tree.contentsChanged(of: node)
      }
      let (answers, asks, isGood) = file.stream.receive(
        piece, isLast: reply.isLast, for: segment, current: node.contents, now: now)
      if !isGood { log.warning("the peer sent contents that were not asked for") }
      return (answers, asks)
    }
    for answer in answers { deliver(answer, of: file) }
    for again in asks { ask(again, file) }
  }

  private func deliver(_ answer: ReadStream<PendingRequest>.Answer, of file: OpenFile) {
    guard let request = answer.ticket.take() else { return }
    deliver(answer.result, isCurrent: answer.isCurrent, to: request, of: file)
  }

  /// Gives the kernel the contents that it asked for, straight from the frames in which they came.
  private func deliver(
    _ result: Result<[FrameSlice], Errno>, isCurrent: Bool, to request: consuming FUSERequest, of file: OpenFile
  ) {
    switch result {
    case .failure(let error): request.fail(error)
    case .success(let slices):
      request.reply(buffers: slices.map(\.bytes))
      withExtendedLifetime(slices) {}
      guard !isCurrent else { return }
      locked { state in
        file.node.hasPages = true
        state.tree.contentsChanged(of: file.node)
      }
    }
  }
}

extension PeerFilesystem.State {
  /// How a read of the kernel goes on.
  fileprivate enum Read {
    case failed(Errno)
    /// There are no bytes at such an offset.
    case nothing
    /// All of it has come already: nobody waits, and no interrupt is to be expected.
    case here(
      (result: Result<[FrameSlice], Errno>, isCurrent: Bool, asks: [ReadStream<PendingRequest>.Ask]), OpenFile)
    case missing(OpenFile)
    /// It is to see what was written before.
    case afterWrites(OpenFile)
  }

  fileprivate mutating func read(_ handle: UInt64, _ offset: Int64, _ count: Int, online: Bool) -> Read {
    guard let file = files[handle] else { return .failed(.badFileDescriptor) }
    file.isRead = true
    if let lost = file.lost { return .failed(lost) }
    guard count > 0, offset >= 0, offset <= Limits.Wire.fileSize else { return .nothing }
    let node = file.node
    guard node.writes.isIdle else { return .afterWrites(file) }
    let answer = file.stream.readAtOnce(
      at: offset, count: count, size: node.attributes.size, budget: readAheadBudget(online: online),
      current: node.contents, now: .now)
    guard let answer else { return .missing(file) }
    node.readSinceCached &+= Int64(count)
    node.hasPages = true
    return .here(answer, file)
  }

  /// How many more bytes may be asked for ahead: all open files share one budget.
  fileprivate func readAheadBudget(online: Bool) -> Int {
    online ? max(0, Limits.Mount.readAheadTotal - readAhead.bytes) : 0
  }
}

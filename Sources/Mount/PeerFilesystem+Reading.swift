import Core
import FUSE
import Glibc
import Logging
import Session
import Synchronization
import SystemPackage
import Wire

/// Reads, and reading ahead.
extension PeerFilesystem {
  func read(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int) {
    let (file, isIdle) = state.withLock { state -> (OpenFile?, Bool) in
      guard let file = state.files[handle] else { return (nil, true) }
      return (file, file.node.writes.isIdle)
    }
    guard let file else { return _ = request.fail(.badFileDescriptor) }
    guard count > 0, offset >= 0, offset <= Limits.Wire.fileSize else {
      return _ = request.reply(bytes: UnsafeRawBufferPointer(start: nil, count: 0))
    }
    let pending = wait(request, .query)
    if isIdle {
      read(pending, file, offset, count)
    } else {
      afterWrites(of: file.node) { [self] in read(pending, file, offset, count) }
    }
  }

  private func read(_ pending: PendingRequest, _ file: OpenFile, _ offset: Int64, _ count: Int) {
    let (answer, asks) = state.withLock { state in
      let budget = state.readAheadBudget(for: file, online: requester.isOnline)
      file.node.readSinceCached &+= Int64(count)
      return file.stream.read(
        pending, at: offset, count: count, size: file.node.attributes.size, budget: budget)
    }
    if let answer { PeerFilesystem.deliver(answer) }
    for ask in asks { self.ask(ask, file) }
  }

  /// Asks the peer for a segment.
  private func ask(_ ask: ReadStream<PendingRequest>.Ask, _ file: OpenFile) {
    let request = Request.read(file.handle, offset: ask.offset, count: UInt32(ask.count))
    let sequence = send(request) { [self] reply in receive(reply, file, ask.segment) }
    state.withLock { state in
      if file.stream.unfinished.contains(ask.segment) { file.requests[ask.segment] = sequence }
    }
  }

  /// A reply for a segment; nil if it ends without one.
  func receive(_ reply: Reply?, _ file: OpenFile, _ segment: UInt64, opening: Bool = false) {
    var again: ReadStream<PendingRequest>.Ask?
    let answers = state.withLock { state -> [ReadStream<PendingRequest>.Answer] in
      if reply?.isLast ?? true { file.requests[segment] = nil }
      if let error = reply?.error { return file.stream.fail(segment, error) }
      guard let reply, reply.body.count > 0 else {
        return file.stream.receive(nil, isLast: reply?.isLast ?? true, for: segment).answers
      }
      // After a reconnection an open is answered again from its attributes on.
      if opening, reply.body.count == Attributes.length, let attributes = try? reply.attributes(),
        RemoteFile(attributes) == file.node.remote
      {
        let ask = file.stream.restart(segment)
        // Of its answer the peer has kept only these: the contents are to be asked for.
        if reply.isLast { again = ask }
        return []
      }
      guard let piece = try? reply.piece() else { return file.stream.fail(segment, .ioError) }
      let (answers, isGood) = file.stream.receive((piece.offset, piece.data), isLast: reply.isLast, for: segment)
      if !isGood { log.warning("the peer sent contents that were not asked for") }
      return answers
    }
    for answer in answers { PeerFilesystem.deliver(answer) }
    if let again { ask(again, file) }
  }

  /// Gives the kernel what it asked for, straight from the frames in which it came.
  private static func deliver(_ answer: ReadStream<PendingRequest>.Answer) {
    guard let request = answer.ticket.take() else { return }
    switch answer.result {
    case .failure(let error): request.fail(error)
    case .success(let slices):
      request.reply(buffers: slices.map(\.bytes))
      withExtendedLifetime(slices) {}
    }
  }
}

extension PeerFilesystem.State {
  /// How many more bytes may be asked for ahead: all open files share one budget.
  func readAheadBudget(for file: OpenFile, online: Bool) -> Int {
    guard online else { return 0 }
    var held = 0
    for other in files.values { held += other.stream.held }
    return max(0, Limits.Mount.readAheadTotal - held)
  }
}

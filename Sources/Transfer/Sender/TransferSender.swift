import P2PFSCore
import P2PFSExport
import Glibc
package import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Sends the files of a `TransferSource` over a channel: one thread walks, reads and sends, another one receives.
package final class TransferSender: Sendable {
  /// The outcome of the transfer.
  package struct Summary: Sendable {
    /// The files that are there and verified, as reported by the receiver.
    package var result: TransferResult
    /// Files that were not sent, and those that the receiver refused.
    package var problems: UInt64
  }

  private struct Shared {
    var state = SendingState()
    var failure: TransferFailure?
  }

  private let channel: BlockingChannel
  let source: TransferSource
  private let count: TransferCount
  private let claim: [UInt8]
  let progress: TransferProgress
  private let report: @Sendable (TransferProblem) -> Void
  private let patience: Double
  private let shared = Mutex(Shared())
  /// Messages from the receiving thread to the sending thread: one for each unsettled file, and four others.
  private let events = BlockingQueue<SendingState.Event>(limit: Limits.Transfer.ahead + 4)
  private let problems = Atomic<UInt64>(0)
  // Used by the sending thread only.
  private nonisolated(unsafe) var places: [UInt64: (TransferSource.Place, TransferEntry)] = [:]

  /// - Parameters:
  ///   - channel: keeps messages, and has no other user.
  ///   - count: of this source; it need not have ended, and is stopped with the transfer.
  ///   - claim: the name of this side, for the receiver.
  ///   - patience: seconds until the receiver's first message; after it the user may take long to agree.
  ///   - report: called for each problem of either side, on the transfer's threads.
  package init(
    _ source: TransferSource, _ count: TransferCount, over channel: SessionChannel, claim: [UInt8],
    progress: TransferProgress, patience: Double = Limits.Transfer.opening,
    report: @escaping @Sendable (TransferProblem) -> Void
  ) {
    self.channel = BlockingChannel(channel)
    self.source = source
    self.count = count
    self.claim = claim
    self.progress = progress
    self.patience = patience
    self.report = report
  }

  /// Sends all files, and waits for the result. `Channel.reset` from another thread ends it.
  package func run() async throws(TransferFailure) -> Summary {
    FileThread.start { self.receiveAll() }
    channel.channel.whenOver { [count] in count.stop() }
    let greeting = Task {
      try? await Task.sleep(for: .seconds(patience))
      if !Task.isCancelled, shared.withLock({ $0.state.phase == .greeting }) { fail(.silent) }
    }
    defer { greeting.cancel() }
    let outcome = await FileThread.run {
      Result { () throws(TransferFailure) in try self.sendAll() }
    }
    switch outcome {
    case .success(let result):
      channel.channel.finish(within: Limits.Transfer.farewell)
      // The receiver has confirmed that all files are there; errors of the channel do not matter any more.
      try? await channel.channel.over()
      return Summary(result: result, problems: problems.load(ordering: .relaxed))
    case .failure(let failure):
      // Sends the reason; does nothing if the channel is closed.
      channel.channel.reset(.failed, failure.wordForPeer)
      throw failure
    }
  }

  // MARK: - The receiving thread

  private func receiveAll() {
    do {
      while let piece = try channel.next() {
        try hear(piece)
        channel.channel.consumed(piece)
      }
      channel.channel.consumedEnd()
      if shared.withLock({ $0.state.phase != .over }) { fail(.violated("it ended in the middle")) }
    } catch let error as SessionChannelError {
      fail(.channel(error))
    } catch {
      fail(.violated("\(error)"))
    }
    events.close()
  }

  private func hear(_ piece: FrameSlice) throws {
    let message = try TransferMessage(parsing: piece)
    let event = try shared.withLock { shared throws(MalformedMessage) in try shared.state.heard(message) }
    if case .problem(let problem, let isAnswer) = event {
      note(problem)
      guard isAnswer else { return }
    }
    events.push(event)
  }

  private func fail(_ failure: TransferFailure) {
    shared.withLock { if $0.failure == nil { $0.failure = failure } }
    // Ends the waits of both threads.
    channel.channel.reset(.failed, failure.wordForPeer)
  }

  private func note(_ problem: TransferProblem) {
    problems.wrappingAdd(1, ordering: .relaxed)
    report(problem)
  }

  /// Whether the transfer continues.
  var isWanted: Bool { channel.channel.failure == nil }

  /// Whether the receiver has given up on a file.
  func isRefused(_ number: UInt64) -> Bool { shared.withLock { $0.state.isRefused(number) } }

  // MARK: - The sending thread

  private func sendAll() throws(TransferFailure) -> TransferResult {
    // If the channel has failed already, the messages that have arrived on it give the reason.
    try? say(.hello(.init(sends: true, claim: claim)))
    guard case .greeted(let hello) = try nextEvent() else { throw .violated("it did not greet") }
    guard hello.version == TransferMessage.version else { throw .version(hello.version) }
    guard !hello.sends else { throw .sameRole(sends: true) }
    let counted = try awaitCount()
    shared.withLock { $0.state.offer(counted.offer) }
    try say(.offer(counted.offer))
    progress.isAsking = true
    defer { progress.isAsking = false }
    switch try nextEvent() {
    case .accepted: progress.isAsking = false
    case .declined(let why): throw .declined(why)
    default: throw .violated("no answer to the offer")
    }
    progress.begin(counted.offer.bytes, files: counted.offer.files)
    var skipped: UInt64 = 0
    try source.walk { step throws(TransferFailure) in
      let isAnnounced = try announce(step, counted)
      if !isAnnounced { skipped += 1 }
      while let event = events.popIfThere() { try serve(event) }
      // A directory that appeared after the offer: nothing in it was offered.
      return isAnnounced
    }
    while shared.withLock({ $0.state.unsettledCount > 0 }) { try serve(nextEvent()) }
    // The receiver counts the same entries, and reports them itself.
    let missing = shared.withLock { $0.state.missing(besides: skipped) }
    if missing > 0 {
      note(TransferProblem(number: 0, path: [], reason: "\(missing) of what was offered is not there any more"))
    }
    shared.withLock { $0.state.complete() }
    progress.turn(to: [], .writing)
    try say(.complete)
    while true {
      let event = try nextEvent()
      if case .result(let result) = event { return result }
      // Refusals of the last files settle them before they are examined here.
      guard case .problem = event else { throw .violated("it did not say how it ended") }
      try serve(event)
    }
  }

  private func awaitCount() throws(TransferFailure) -> Counted {
    progress.isCounting = true
    defer { progress.isCounting = false }
    do throws(TransferFailure) { return try count.wait() } catch {
      if case .channel = error { throw end }
      throw error
    }
  }

  /// The reason why the transfer has ended.
  var end: TransferFailure { shared.withLock { $0.failure } ?? .channel(channel.channel.failure ?? .cancelled) }

  func say(_ message: TransferMessage) throws(TransferFailure) { try send(message.piece) }

  func send(_ piece: Frame) throws(TransferFailure) {
    do throws(SessionChannelError) {
      try channel.send(piece)
    } catch {
      throw shared.withLock { $0.failure } ?? .channel(error)
    }
  }

  private func nextEvent() throws(TransferFailure) -> SendingState.Event {
    guard let event = events.pop() else { throw end }
    return event
  }

  /// Returns false if the entry was left out.
  private func announce(_ step: TransferSource.Step, _ counted: Counted) throws(TransferFailure) -> Bool {
    switch step {
    case .skipped(let path, let reason):
      try skip(0, path, reason)
      return false
    case .entry(let entry, let place):
      if case .file = entry.kind {
        while shared.withLock({ $0.state.unsettledCount >= Limits.Transfer.ahead }) { try serve(nextEvent()) }
      }
      let objection = counted.objection(to: entry)
      guard objection == nil, let number = shared.withLock({ $0.state.announce(entry) }) else {
        try skip(0, entry.path.bytes, objection ?? "it is more than was offered")
        return false
      }
      if case .file = entry.kind { places[number] = (place, entry) }
      try say(.entry(entry))
      return true
    }
  }

  private func skip(_ number: UInt64, _ path: [UInt8], _ reason: String) throws(TransferFailure) {
    let problem = TransferProblem(number: number, path: path, reason: reason)
    note(problem)
    try say(.problem(problem))
  }

  private func serve(_ event: SendingState.Event) throws(TransferFailure) {
    let (number, have, hash, isCheck): (UInt64, Int64, ContentHash?, Bool)
    switch event {
    case .want(let n, let h, let x): (number, have, hash, isCheck) = (n, h, x, false)
    case .check(let n): (number, have, hash, isCheck) = (n, 0, nil, true)
    case .problem(let problem, _):
      if let (_, entry) = places.removeValue(forKey: problem.number) { pass(entry) }
      return
    default: throw .violated("an answer at the wrong time")
    }
    guard let (place, entry) = places.removeValue(forKey: number) else { return }
    progress.turn(to: entry.path.bytes, isCheck || have > 0 ? .checking : .moving)
    let before = progress.done
    let outcome =
      if isCheck { try check(number, place) } else { try contents(number, place, have: have, hash: hash) }
    shared.withLock { $0.state.settle(number) }
    switch outcome {
    case .ended(let hash): try say(.end(number: number, hash: hash))
    case .failed(let reason): try skip(number, entry.path.bytes, reason)
    // The receiver has reported it itself.
    case .refused: try say(.problem(TransferProblem(number: number, path: entry.path.bytes, reason: "")))
    }
    pass(entry, counted: progress.done - before)
  }

  /// A file is complete or given up.
  private func pass(_ entry: TransferEntry, counted: Int64 = 0) {
    if case .file(let size) = entry.kind { progress.find(size - counted) }
    progress.finishFile()
  }
}

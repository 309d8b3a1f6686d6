import P2PFSCore
import P2PFSExport
import Glibc
package import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Receives the files that a `TransferSender` sends. One thread receives messages and writes contents, another one
/// examines existing files, so that hashing a large file does not delay arriving data.
package final class TransferReceiver: Sendable {
  /// The user's answer to an offer.
  package enum Decision: Sendable {
    case accept
    /// The reason that is sent to the sender.
    case decline(String)
  }

  /// A file that was requested.
  enum Awaited {
    case contents(TransferEntry, TransferTarget.Beginning)
    case hash(TransferEntry, ContentHash)

    var entry: TransferEntry {
      switch self {
      case .contents(let entry, _), .hash(let entry, _): entry
      }
    }
  }

  struct Shared {
    var state = ReceivingState()
    var awaited: [UInt64: Awaited] = [:]
    var failure: TransferFailure?
  }

  private let channel: BlockingChannel
  let target: TransferTarget
  private let claim: [UInt8]
  let progress: TransferProgress
  private let patience: Double
  private let decide: @Sendable (TransferMessage.Offer, _ claim: [UInt8]) -> Decision
  private let report: @Sendable (TransferProblem) -> Void
  let shared = Mutex(Shared())
  let entries = BlockingQueue<(UInt64, TransferEntry)>(limit: Limits.Transfer.ahead)
  /// Signals that all entries were examined.
  let examined = BlockingQueue<Void>(limit: 1)
  private let problems = Atomic<UInt64>(0)

  // Used by the examining thread only until `examined` is signalled, then by the receiving thread only.
  nonisolated(unsafe) var directories = DirectoryTable()
  // All below: used by the receiving thread only.
  private nonisolated(unsafe) var filesystems = FilesystemTable()
  private nonisolated(unsafe) var part: PartFile?
  private nonisolated(unsafe) var hello: TransferMessage.Hello?
  private nonisolated(unsafe) var result = TransferResult()
  /// Whether the result was sent.
  private nonisolated(unsafe) var isFinal = false
  /// Bytes of the current file that are counted in the progress.
  private nonisolated(unsafe) var accounted: Int64 = 0

  /// - Parameters:
  ///   - channel: keeps messages, and has no other user.
  ///   - claim: the name of this side, for the sender.
  ///   - patience: seconds until the sender's first message; after it the sender may count for long.
  ///   - decide: asks the user, on a thread of the transfer, where it may block.
  ///   - report: called for each problem of either side, on the transfer's threads.
  package init(
    into target: TransferTarget, over channel: SessionChannel, claim: [UInt8], progress: TransferProgress,
    patience: Double = Limits.Transfer.opening,
    decide: @escaping @Sendable (TransferMessage.Offer, _ claim: [UInt8]) -> Decision,
    report: @escaping @Sendable (TransferProblem) -> Void
  ) {
    self.channel = BlockingChannel(channel)
    self.target = target
    self.claim = claim
    self.progress = progress
    self.patience = patience
    self.decide = decide
    self.report = report
  }

  /// Receives all files. When it returns they are on disk; if it throws, part files are kept for the next time.
  /// `Channel.reset` from another thread ends it.
  package func run() async throws(TransferFailure) -> TransferResult {
    FileThread.start { self.examineAll() }
    let greeting = Task {
      try? await Task.sleep(for: .seconds(patience))
      if !Task.isCancelled, shared.withLock({ $0.state.phase == .greeting }) { fail(.silent) }
    }
    defer { greeting.cancel() }
    let outcome = await FileThread.run { Result { () throws(TransferFailure) in try self.receiveAll() } }
    entries.close()
    switch outcome {
    case .success(let result):
      // The sender should get the result, but all files are here even if it does not.
      try? await channel.channel.over()
      return result
    case .failure(let failure):
      if case .refused = failure {
        // The sender gets the reason in a message.
        channel.channel.finish(within: Limits.Channel.farewell)
        try? await channel.channel.over()
      } else {
        channel.channel.reset(.failed, failure.wordForPeer)
      }
      throw failure
    }
  }

  func say(_ message: TransferMessage) throws(TransferFailure) {
    do throws(SessionChannelError) { try channel.send(message.piece) } catch { throw self.failure(or: error) }
  }

  private func failure(or error: SessionChannelError) -> TransferFailure {
    shared.withLock { $0.failure } ?? .channel(error)
  }

  /// Ends the transfer and the waits of all threads.
  func fail(_ failure: TransferFailure) {
    shared.withLock { if $0.failure == nil { $0.failure = failure } }
    channel.channel.reset(.failed, failure.wordForPeer)
  }

  /// Whether the transfer continues.
  var isWanted: Bool { channel.channel.failure == nil }

  /// Gives up on an entry, or on the whole transfer if the next entry would fail with the same error.
  func refuse(_ number: UInt64, _ path: Path, _ error: any Error) throws(TransferFailure) {
    let reason = EntryRefusal.reason(of: error)
    if EntryRefusal.isFatal(error) { throw .local("\(String(pathBytes: path.bytes)): \(reason)") }
    try refuse(number, path, reason)
  }

  /// Reports a problem on both sides.
  func refuse(_ number: UInt64, _ path: Path, _ reason: String) throws(TransferFailure) {
    let problem = TransferProblem(number: number, path: path.bytes, reason: reason)
    note(problem)
    try say(.problem(problem))
  }

  private func note(_ problem: TransferProblem) {
    problems.wrappingAdd(1, ordering: .relaxed)
    report(problem)
  }

  // MARK: - The receiving thread

  private func receiveAll() throws(TransferFailure) -> TransferResult {
    defer {
      filesystems.close()
      // The lock ends with the object.
      part = nil
    }
    // If the channel has failed already, the messages that have arrived on it give the reason.
    try? say(.hello(.init(sends: false, claim: claim)))
    // Existing files, directories and links have to be on disk at the end as well.
    if let root = try? target.directory.open(.root, [.read]) { note(root) }
    do {
      while let piece = try channel.next() {
        let message = try TransferMessage(parsing: piece)
        let event = try shared.withLock { shared throws(MalformedMessage) in try shared.state.heard(message) }
        try take(event)
        channel.channel.consumed(piece)
      }
      channel.channel.consumedEnd()
    } catch let error as TransferFailure {
      throw error
    } catch let error as SessionChannelError {
      // The result was sent; errors after that do not matter.
      if isFinal { return result }
      throw failure(or: error)
    } catch {
      throw .violated("\(error)")
    }
    guard isFinal else { throw .violated("it ended in the middle") }
    return result
  }

  private func take(_ event: ReceivingState.Event) throws(TransferFailure) {
    switch event {
    case .greeted(let hello):
      guard hello.version == TransferMessage.version else { throw .version(hello.version) }
      guard hello.sends else { throw .sameRole(sends: false) }
      self.hello = hello
      progress.isCounting = true
    case .offered(let offer):
      progress.isCounting = false
      try answer(offer)
    case .entry(let number, let entry): entries.push((number, entry))
    case .begin(let number, let offset): try begin(number, offset)
    case .data(let number, let offset, let slice):
      progress.move(slice.count)
      accounted += Int64(slice.count)
      // Without a part file it has failed here, and the sender does not know yet.
      guard let part, part.number == number else { return }
      do throws(Errno) { try part.write(slice, at: offset) } catch {
        self.part = nil
        try giveUp(number, part.entry.path, error)
      }
    case .end(let number, let hash): try end(number, hash)
    case .problem(let problem, let isEcho):
      if part?.number == problem.number { part = nil }
      if let awaited = shared.withLock({ $0.awaited.removeValue(forKey: problem.number) }) { pass(awaited.entry) }
      if !isEcho { note(problem) }
    case .complete: try complete()
    }
  }

  private func answer(_ offer: TransferMessage.Offer) throws(TransferFailure) {
    switch decide(offer, hello?.claim ?? []) {
    case .accept:
      if let shortage = target.shortage(for: offer, while: { isWanted }) {
        // Do not reveal free disk space to the sender.
        try say(.decline("not enough space"))
        throw .refused(shortage)
      }
      shared.withLock { $0.state.accept() }
      progress.begin(offer.bytes, files: offer.files)
      try say(.accept)
    case .decline(let why):
      try say(.decline(why))
      throw .refused(why)
    }
  }

  private func begin(_ number: UInt64, _ offset: Int64) throws(TransferFailure) {
    guard case .contents(let entry, let beginning)? = shared.withLock({ $0.awaited[number] }) else { return }
    progress.turn(to: entry.path.bytes)
    progress.find(offset)
    accounted = offset
    do {
      part = try PartFile(number, entry, in: target, after: beginning, offset: offset)
    } catch {
      part = nil
      try giveUp(number, entry.path, error)
    }
  }

  /// Gives up on a file that is being sent.
  private func giveUp(_ number: UInt64, _ path: Path, _ error: any Error) throws(TransferFailure) {
    shared.withLock { $0.state.giveUp(number) }
    try refuse(number, path, error)
  }

  private func end(_ number: UInt64, _ hash: ContentHash) throws(TransferFailure) {
    guard let awaited = shared.withLock({ $0.awaited.removeValue(forKey: number) }) else { return }
    defer { pass(awaited.entry) }
    do {
      switch awaited {
      case .hash(_, let ours):
        accounted = 0
        guard ours == hash else { throw EntryRefusal.differs }
      case .contents:
        // Without a part file it was given up.
        guard let part, part.number == number else { return }
        self.part = nil
        if let lack = try part.finish(hash, synchronizing: &filesystems) {
          try refuse(number, awaited.entry.path, lack)
        }
      }
    } catch let failure as TransferFailure {
      throw failure
    } catch {
      return try refuse(number, awaited.entry.path, error)
    }
    result.files += 1
    if case .file(let size) = awaited.entry.kind { result.bytes += size }
  }

  /// A file is complete or given up.
  private func pass(_ entry: TransferEntry) {
    if case .file(let size) = entry.kind { progress.find(max(0, size - accounted)) }
    accounted = 0
    progress.finishFile()
  }

  private func complete() throws(TransferFailure) {
    entries.close()
    _ = examined.pop()
    if let failure = shared.withLock({ $0.failure }) { throw failure }
    let missing = shared.withLock { $0.state.missing }
    if missing > 0 { note(TransferProblem(number: 0, path: [], reason: "\(missing) of what was offered did not come")) }
    progress.turn(to: [], .writing)
    var failures: [(UInt64, Path, Errno)] = []
    directories.settle { (path, changes) throws(Errno) in
      let device = try target.directory.change(path, changes).identity.device
      guard !filesystems.contains(device), let directory = try? target.directory.open(path, [.read]) else { return }
      note(directory)
    } failed: { number, path, error in
      if failures.count < Limits.Transfer.problemsShown { failures.append((number, path, error)) }
    }
    for (number, path, error) in failures {
      try refuse(number, path, TransferTarget.unsettled(error))
    }
    do throws(Errno) { try filesystems.synchronize() } catch { throw .local("cannot write it to disk: \(error)") }
    result.problems = problems.load(ordering: .relaxed)
    try say(.result(result))
    isFinal = true
    channel.channel.finish(within: Limits.Transfer.farewell)
  }

  /// Has the filesystem of an open directory synced at the end.
  private func note(_ directory: borrowing Descriptor) {
    guard let device = try? target.directory.attributes(of: directory).identity.device else { return }
    try? filesystems.note(device, directory)
  }
}

extension SessionChannel {
  /// Ends this direction of the channel, and gives up on a peer that does not end its own in time.
  func finish(within seconds: Double) {
    finish()
    Task { [weak self] in
      try? await Task.sleep(for: .seconds(seconds))
      self?.reset(.cancelled)
    }
  }
}

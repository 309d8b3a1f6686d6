import P2PFSCore
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// The export as one peer sees it: its requests in, its open files.
///
/// The link's thread only queues; workers decode and serve (`ExportSession+Serving.swift`).
final class ExportSession: Responder {
  /// What a worker runs.
  struct Work {
    let session: ExportSession
    /// nil: the session is over.
    let request: (frame: Frame, exchange: Exchange)?
  }

  let share: Share
  /// Its number in the queue of the workers.
  let number: Int
  /// What the peer has open.
  let table: OpenFileTable
  /// What outlives this process; nil: nothing.
  let journal: Journal?
  private let isEnded = Atomic(false)

  init(_ share: Share, journal: Journal? = nil) {
    self.share = share
    self.journal = journal
    number = share.workers.addSession()
    table = OpenFileTable(share.allowance, share.stock)
    guard let journal else { return }
    // Before anybody is served, and while the notes say it.
    for loan in journal.left { share.directory.takeBack(loan) }
    journal.forgetLoans()
  }

  deinit { share.workers.remove(number) }

  var isReadOnly: Bool { share.isReadOnly }
  var memory: (any SlotMemory)? { journal }
  var holdsSharedFiles: Bool { table.count > share.allowance.own }
  var hasOpenFiles: Bool { table.count > 0 }

  func serve(_ request: Frame, _ exchange: Exchange) {
    let work = Work(session: self, request: (request, exchange))
    // Off the encoded message, because the order of requests is decided when they arrive.
    let use = HandleUse(of: request, operation: exchange.header.operation)
      .map { WorkQueue<Work>.HandleUse(handle: $0.handle, isExclusive: $0.isExclusive) }
    let isSlow = Operation(rawValue: exchange.header.operation)?.isSlow ?? false
    guard !isEnded.load(ordering: .acquiring), share.workers.enqueue(work, use: use, isSlow: isSlow, of: number) else {
      return exchange.fail(.ioError)
    }
  }

  func end() {
    suspend()
    // Not by a worker, which may touch nothing but the share.
    journal?.remove()
  }

  /// A worker closes what is open, since close(2) may wait for a disk.
  func suspend() {
    guard !isEnded.exchange(true, ordering: .acquiringAndReleasing) else { return }
    let (dropped, isQueued) = share.workers.replace(with: Work(session: self, request: nil), of: number)
    for work in dropped { work.request?.exchange.fail(.ioError) }
    if !isQueued { table.end() }
  }
}

extension Operation {
  /// Whether it waits for a disk as a rule, and not only when that is dead. Whatever else does stands aside when it is
  /// noticed; a close is not among them, or the fsyncs of others would hold up whoever saves a file.
  var isSlow: Bool { self == .fsync }
}

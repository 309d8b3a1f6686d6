import P2PFSCore
import P2PFSFUSE
import Glibc
import Synchronization
import SystemPackage

/// A request of the kernel whose answer comes later, from whoever is first: the peer's reply, or the interrupt of
/// a process that will not wait.
final class PendingRequest: Sendable {
  /// What is waited for.
  enum Kind: Sendable {
    /// An answer, or a change at the peer.
    case answer
    /// The end of writes, at the close of a file: by a process that may be past signals.
    case flush
  }

  let kind: Kind
  let identifier: UInt64
  /// The thread that waits.
  let process: Int32
  /// Called when the process dies before the answer has come.
  fileprivate let died: (@Sendable () -> Void)?
  private let request: Mutex<FUSERequest?>
  private let table: InterruptTable

  fileprivate init(
    _ request: consuming FUSERequest, _ kind: Kind, _ identifier: UInt64, _ table: InterruptTable,
    died: (@Sendable () -> Void)?
  ) {
    self.kind = kind
    self.identifier = identifier
    self.table = table
    self.died = died
    process = request.process
    self.request = Mutex(consume request)
  }

  /// The request, for the one who is first.
  func take() -> FUSERequest? {
    table.remove(identifier)
    return request.withLock { $0.take() }
  }

  /// Ends it with an error, if nobody has answered it.
  func fail(_ error: Errno) {
    if let request = take() { request.fail(error) }
  }

  fileprivate func announce() {
    request.withLock { request in
      guard let taken = request.take() else { return }
      taken.announceInterrupts(as: identifier)
      request = .some(taken)
    }
  }
}

/// The requests that wait for the peer, and the thread that ends those whose process dies.
///
/// A signal that has a handler, or stops the process, ends nothing: a change would be made again by a program that is
/// told EINTR, and be made though it was told that, and no program expects EINTR of a file on a disk. So only a process
/// that will never see the answer is let go; what it has sent may still happen, as with a disk.
final class InterruptTable: Sendable {
  private struct State {
    var pending: [UInt64: PendingRequest] = [:]
    var next: UInt64 = 1
  }

  private let state = Mutex(State())
  private let mailbox = Mailbox<UInt64>()
  private let thread = Mutex<Worker?>(nil)
  private let isOnline: @Sendable () -> Bool

  /// - Parameter isOnline: whether the peer can be reached at this moment.
  init(isOnline: @escaping @Sendable () -> Bool) { self.isOnline = isOnline }

  /// Starts the thread.
  func start() {
    thread.withLock { $0 = Worker("mount-interrupt") { [self] in run() } }
  }

  /// Ends the thread, and every request that is left, with EIO.
  func stop() {
    mailbox.close()
    let worker = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    worker?.join()
    let left = state.withLock { Array($0.pending.values) }
    for pending in left { pending.fail(.ioError) }
  }

  /// A request that will be answered later.
  func add(
    _ request: consuming FUSERequest, _ kind: PendingRequest.Kind, died: (@Sendable () -> Void)?
  ) -> PendingRequest {
    let identifier = state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
    let pending = PendingRequest(request, kind, identifier, self, died: died)
    state.withLock { $0.pending[identifier] = pending }
    pending.announce()
    return pending
  }

  fileprivate func remove(_ identifier: UInt64) {
    state.withLock { _ = $0.pending.removeValue(forKey: identifier) }
  }

  /// The process that waits got a signal; or, for a flush, may be past signals.
  func interrupt(_ identifier: UInt64) { mailbox.post(identifier) }

  private func run() {
    var waiting: Set<UInt64> = []
    while let arrived = mailbox.collect(timeout: waiting.isEmpty ? nil : 0.05) {
      waiting.formUnion(arrived)
      let online = isOnline()
      for identifier in waiting {
        guard let pending = state.withLock({ $0.pending[identifier] }) else {
          waiting.remove(identifier)
          continue
        }
        guard mayEnd(pending, isOnline: online) else { continue }
        waiting.remove(identifier)
        pending.fail(Errno(rawValue: EINTR))
        pending.died?()
      }
    }
  }

  private func mayEnd(_ pending: PendingRequest, isOnline: Bool) -> Bool {
    let thread = ProcessThread(pending.process)
    // In a namespace where we cannot see it: it can be let go only where the answer may be long in coming.
    guard thread.isVisible else { return !isOnline && pending.kind == .answer }
    return thread.isDying || (pending.kind == .flush && !isOnline && thread.isExiting)
  }
}

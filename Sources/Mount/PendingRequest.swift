import Core
import FUSE
import Glibc
import Synchronization
import SystemPackage

/// A request of the kernel whose answer comes later, from whoever is first: the peer's reply, or the interrupt of
/// a process that will not wait.
final class PendingRequest: Sendable {
  /// What an interrupt may do to it.
  enum Kind: Sendable {
    /// Changes nothing: may be given up.
    case query
    /// Changes something at the peer: waits for its answer while there is a connection.
    case change
    /// Waits for writes, at the close of a file: nobody may be left who can be interrupted.
    case flush
  }

  let kind: Kind
  let identifier: UInt64
  /// The thread that waits.
  let process: Int32
  private let request: Mutex<FUSERequest?>
  private let table: InterruptTable

  fileprivate init(_ request: consuming FUSERequest, _ kind: Kind, _ identifier: UInt64, _ table: InterruptTable) {
    self.kind = kind
    self.identifier = identifier
    self.table = table
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

/// The requests that wait for the peer, and the thread that ends those whose process was interrupted.
final class InterruptTable: Sendable {
  private struct State {
    var pending: [UInt64: PendingRequest] = [:]
    var next: UInt64 = 1
  }

  private let state = Mutex(State())
  private let mailbox = Mailbox<UInt64>()
  private let thread = Mutex<Worker?>(nil)
  private let isOnline: @Sendable () -> Bool
  private let interrupted: @Sendable (PendingRequest) -> Void

  /// - Parameters:
  ///   - isOnline: whether the peer can be reached at this moment.
  ///   - interrupted: ends a request with EINTR.
  init(isOnline: @escaping @Sendable () -> Bool, interrupted: @escaping @Sendable (PendingRequest) -> Void) {
    self.isOnline = isOnline
    self.interrupted = interrupted
  }

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
  func add(_ request: consuming FUSERequest, _ kind: PendingRequest.Kind) -> PendingRequest {
    let identifier = state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
    let pending = PendingRequest(request, kind, identifier, self)
    state.withLock { $0.pending[identifier] = pending }
    pending.announce()
    return pending
  }

  fileprivate func remove(_ identifier: UInt64) {
    state.withLock { _ = $0.pending.removeValue(forKey: identifier) }
  }

  /// Whoever waits for the request got a signal; or, for a flush, may be past signals.
  func interrupt(_ identifier: UInt64) { mailbox.post(identifier) }

  private func run() {
    // Interrupted, and since when.
    var waiting: [UInt64: Instant] = [:]
    while let arrived = mailbox.collect(timeout: waiting.isEmpty ? nil : 0.05) {
      let now = Instant.now
      for identifier in arrived where waiting[identifier] == nil { waiting[identifier] = now }
      let online = isOnline()
      for (identifier, since) in waiting {
        guard let pending = state.withLock({ $0.pending[identifier] }) else {
          waiting[identifier] = nil
          continue
        }
        guard mayEnd(pending, since: since, now: now, isOnline: online) else { continue }
        waiting[identifier] = nil
        interrupted(pending)
      }
    }
  }

  private func mayEnd(_ pending: PendingRequest, since: Instant, now: Instant, isOnline: Bool) -> Bool {
    switch pending.kind {
    case .query:
      return !isOnline || now.seconds(since: since) >= Limits.Mount.interrupt || pending.process.isKilled
    case .change:
      return !isOnline || pending.process.isKilled
    case .flush:
      return pending.process.isKilled || (!isOnline && pending.process.isExiting)
    }
  }
}

extension Int32 {
  /// Whether SIGKILL is pending for this thread: it will never see an answer.
  fileprivate var isKilled: Bool {
    guard let text = readProcess("status") else { return true }
    return text.split(separator: "\n").contains { line in
      guard line.hasPrefix("SigPnd:") || line.hasPrefix("ShdPnd:") else { return false }
      let mask = line.drop { $0 != "\t" }.dropFirst()
      return (UInt64(mask, radix: 16) ?? 0) & (1 << UInt64(SIGKILL - 1)) != 0
    }
  }

  /// Whether this thread is on its way out, and takes no signals (PF_EXITING in proc_pid_stat(5)).
  fileprivate var isExiting: Bool {
    guard let text = readProcess("stat"), let end = text.lastIndex(of: ")") else { return true }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 6, let flags = UInt64(fields[6]) else { return false }
    return flags & 4 != 0
  }

  private func readProcess(_ file: String) -> String? {
    // 0: in a namespace where we cannot see it.
    guard self > 0 else { return "" }
    guard let stream = fopen("/proc/\(self)/\(file)", "re") else { return nil }
    defer { fclose(stream) }
    var text = [UInt8](repeating: 0, count: 8192)
    let count = fread(&text, 1, text.count, stream)
    return String(decoding: text[..<count], as: UTF8.self)
  }
}

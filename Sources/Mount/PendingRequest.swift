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

  /// How the kernel can be made to let go of the locks that it holds for a request which is not answered yet.
  enum Relief: Sendable {
    /// By ESTALE: it asks again, and gets the answer then (`Detours`). With what the names in the question stand for.
    case retry(Question, [NameBefore])
    /// Not at all, since its thread was answered ESTALE in the same call, as it seems.
    case refused
    /// By an answer that may do, given by this.
    case other(@Sendable (PendingRequest) -> Void)
  }

  typealias Answer = @Sendable (consuming FUSERequest) -> Void

  private struct State: ~Copyable {
    var request: FUSERequest?
    /// The kernel was answered ESTALE, and is to ask again.
    var isAway = false
    var wasAway = false
    /// What it is to be told then, or what to do if it does not come.
    var answer: (give: Answer, forsake: @Sendable () -> Void)?
  }

  let kind: Kind
  let identifier: UInt64
  /// The thread that waits.
  let process: Int32
  let relief: Relief?
  let began = Instant.now
  /// Called when the process dies before the answer has come.
  fileprivate let died: (@Sendable () -> Void)?
  private let state: Mutex<State>
  private let table: InterruptTable

  fileprivate init(
    _ request: consuming FUSERequest, _ kind: Kind, _ identifier: UInt64, _ table: InterruptTable, _ relief: Relief?,
    died: (@Sendable () -> Void)?
  ) {
    self.kind = kind
    self.identifier = identifier
    self.table = table
    self.relief = relief
    self.died = died
    process = request.process
    state = Mutex(State(request: consume request))
  }

  /// The request, for the one who is first.
  func take() -> FUSERequest? {
    table.remove(identifier)
    guard let request = state.withLock({ $0.request.take() }) else { return nil }
    noteCall()
    return request
  }

  /// Answers the request: by `give`, if nobody has answered it; else `forsake` is called. Where the kernel is to ask
  /// again, that is left until it does.
  func answer(_ give: @escaping Answer, else forsake: @escaping @Sendable () -> Void = {}) {
    table.remove(identifier)
    var isKept = false
    let request = state.withLock { state -> FUSERequest? in
      guard state.isAway else { return state.request.take() }
      state.answer = (give, forsake)
      isKept = true
      return nil
    }
    if isKept {
      table.owner?.settled(self)
      return
    }
    guard let request else { return forsake() }
    noteCall()
    give(request)
  }

  /// The call goes on that its thread was answered ESTALE in, however long this request has waited.
  private func noteCall() {
    if case .refused = relief { table.owner?.stale(process) } else if isResumed { table.owner?.stale(process) }
  }

  private var isResumed: Bool { state.withLock { $0.wasAway } }

  /// Whether the kernel can be made to let go of locks that it holds for this.
  fileprivate var isRelievable: Bool {
    switch relief {
    case nil, .refused: false
    case .retry: !isResumed
    case .other: true
    }
  }

  /// Ends it with an error, if nobody has answered it.
  func fail(_ error: Errno) {
    if error == .staleNFSFileHandle { table.owner?.stale(process) }
    answer { request in request.fail(error) }
  }

  /// The request, which the caller is going to answer with ESTALE, once: what it waits for is kept for when the kernel
  /// asks again (`resume`), until it is known that it does not (`forsake`).
  func depart() -> FUSERequest? {
    let request = state.withLock { state -> FUSERequest? in
      guard !state.wasAway, let request = state.request.take() else { return nil }
      state.isAway = true
      state.wasAway = true
      return request
    }
    guard let request else { return nil }
    table.remove(identifier)
    return request
  }

  /// Whether the answer is there that the kernel is to ask for again.
  var isSettled: Bool { state.withLock { $0.answer != nil } }

  /// The kernel asks again.
  func resume(by request: consuming FUSERequest) {
    var new: FUSERequest? = consume request
    table.insert(self)
    let give = state.withLock { state -> Answer? in
      state.isAway = false
      guard let answer = state.answer else {
        state.request = new.take()
        return nil
      }
      state.answer = nil
      return answer.give
    }
    if let give, let request = new.take() {
      table.remove(identifier)
      return give(request)
    }
    announce()
  }

  /// The kernel does not ask again.
  func forsake() {
    let forsake = state.withLock { state in
      state.isAway = false
      defer { state.answer = nil }
      return state.answer?.forsake
    }
    forsake?()
  }

  fileprivate func announce() {
    state.withLock { state in
      guard let taken = state.request.take() else { return }
      taken.announceInterrupts(as: identifier)
      state.request = .some(taken)
    }
  }
}

/// Whoever knows what the requests that wait are about.
protocol InterruptTableOwner: AnyObject, Sendable {
  /// The kernel is to let go of the locks that it holds for a request (`PendingRequest.relief`).
  func relieve(_ pending: PendingRequest)
  /// A request has its answer, which the kernel is to ask for again.
  func settled(_ pending: PendingRequest)
  /// A thread is answered ESTALE.
  func stale(_ thread: Int32)
  /// Called now and then. Returns whether it is to be called again.
  func expireDetours() -> Bool
}

/// The requests that wait for the peer, and the thread that ends those whose process dies.
///
/// A signal that has a handler, or stops the process, ends nothing: a change would be made again by a program that is
/// told EINTR, and be made though it was told that, and no program expects EINTR of a file on a disk. So only a process
/// that will never see the answer is let go; what it has sent may still happen, as with a disk.
///
/// Such a process may also wait for a lock that the kernel holds for a request of another one, where no signal reaches
/// it. So when requests wait for long the thread looks for such processes, and has the locks let go of if there are any.
final class InterruptTable: Sendable {
  private struct State {
    var pending: [UInt64: PendingRequest] = [:]
    var next: UInt64 = 1
    /// Whether the thread looks now and then without being told to.
    var isWatched = false
  }

  /// Set once, before there are requests.
  private struct Owner: @unchecked Sendable { weak var owner: (any InterruptTableOwner)? }

  private let state = Mutex(State())
  private let mailbox = Mailbox<UInt64>()
  private let thread = Mutex<Worker?>(nil)
  private let isOnline: @Sendable () -> Bool
  private let ownership = Mutex(Owner())

  /// - Parameter isOnline: whether the peer can be reached at this moment.
  init(isOnline: @escaping @Sendable () -> Bool) { self.isOnline = isOnline }

  fileprivate var owner: (any InterruptTableOwner)? { ownership.withLock { $0.owner } }

  /// Starts the thread.
  func start(for owner: any InterruptTableOwner) {
    ownership.withLock { $0.owner = owner }
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
    _ request: consuming FUSERequest, _ kind: PendingRequest.Kind, _ relief: PendingRequest.Relief?,
    died: (@Sendable () -> Void)?
  ) -> PendingRequest {
    let identifier = state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
    let pending = PendingRequest(request, kind, identifier, self, relief, died: died)
    insert(pending)
    pending.announce()
    return pending
  }

  fileprivate func insert(_ pending: PendingRequest) {
    let wakes = state.withLock { state in
      state.pending[pending.identifier] = pending
      guard pending.isRelievable, !state.isWatched else { return false }
      state.isWatched = true
      return true
    }
    if wakes { mailbox.post(0) }
  }

  fileprivate func remove(_ identifier: UInt64) {
    state.withLock { _ = $0.pending.removeValue(forKey: identifier) }
  }

  /// The process that waits got a signal; or, for a flush, may be past signals.
  func interrupt(_ identifier: UInt64) { mailbox.post(identifier) }

  private func run() {
    var waiting: Set<UInt64> = []
    var look = Instant.now
    var isWatched = false
    while let arrived = mailbox.collect(
      timeout: waiting.isEmpty ? (isWatched ? max(0.01, look.seconds(since: .now)) : nil) : 0.05)
    {
      waiting.formUnion(arrived)
      let online = isOnline()
      for identifier in waiting {
        guard let pending = state.withLock({ $0.pending[identifier] }) else {
          waiting.remove(identifier)
          continue
        }
        guard mayEnd(pending, isOnline: online) else { continue }
        waiting.remove(identifier)
        if let request = pending.take() { request.fail(Errno(rawValue: EINTR)) }
        pending.died?()
      }
      guard look <= .now || !isWatched else { continue }
      look = .now.advanced(by: relieve() ? Limits.Mount.relief : Limits.Mount.patience)
      isWatched = watches()
    }
  }

  private func mayEnd(_ pending: PendingRequest, isOnline: Bool) -> Bool {
    let thread = ProcessThread(pending.process)
    // In a namespace where we cannot see it: it can be let go only where the answer may be long in coming.
    guard thread.isVisible else { return !isOnline && pending.kind == .answer }
    return thread.isDying || (pending.kind == .flush && !isOnline && thread.isExiting)
  }

  // MARK: Locks

  /// Whether the thread is to look again. Else whoever adds a request wakes it.
  private func watches() -> Bool {
    let expires = owner?.expireDetours() ?? false
    return state.withLock { state in
      state.isWatched = expires || state.pending.values.contains { $0.isRelievable }
      return state.isWatched
    }
  }

  /// Has the kernel let go of the locks that it holds for requests, if somebody dies who waits for one. Of several that
  /// die at once, as in a parallel build, each would take the lock and ask something of its own in between: then the
  /// living are left alone, and the dying wait.
  /// - Returns: whether one does.
  private func relieve() -> Bool {
    let now = Instant.now
    let (waiting, threads) = state.withLock { state in
      (state.pending.values.filter { $0.isRelievable }, Set(state.pending.values.map(\.process)))
    }
    guard waiting.contains(where: { now.seconds(since: $0.began) >= Limits.Mount.patience }),
      ProcessThread.stuck(except: threads) == 1
    else { return false }
    for pending in waiting where now.seconds(since: pending.began) >= Limits.Mount.relief { owner?.relieve(pending) }
    return true
  }
}

import P2PFSCore
import P2PFSFUSE
import Glibc
import Synchronization
import SystemPackage
import P2PFSWire

/// Letting go of the kernel's locks while the peer does not answer.
///
/// The kernel holds a directory's lock for whoever looks a name up in it, makes, moves or removes one, and others wait
/// for the lock where no signal reaches them: a connection that hangs would make them impossible to kill. When somebody
/// dies like that, what holds locks is answered ESTALE, and asked again (`Detours`); or answered by what is known.
extension PeerFilesystem: InterruptTableOwner {
  /// How a question of a thread may be made to let go of locks; nil: not at all.
  func retry(_ question: Question, _ before: [NameBefore], of thread: Int32) -> PendingRequest.Relief? {
    locked { $0.detours.mayBegin(thread, .now) } ? .retry(question, before) : .refused
  }

  /// Answers a question with the change that its thread has asked for already, if it has.
  /// - Returns: the request, if not.
  func rejoin(_ request: consuming FUSERequest, _ question: Question) -> FUSERequest? {
    let thread = request.process
    let (joined, forsaken) = locked { $0.detours.ask(question, by: thread, .now) }
    forsaken?.forsake()
    guard let joined else { return request }
    joined.resume(by: request)
    return nil
  }

  /// Answers a lookup of a thread that was answered ESTALE, or holds it.
  /// - Returns: the request, if it is a lookup like others.
  func detour(_ request: consuming FUSERequest, parent: UInt64, name: [UInt8]) -> FUSERequest? {
    enum Answer {
      case none
      case join(PendingRequest)
      case hold
      case entry(FUSEEntry?)
    }
    let thread = request.process
    let answer = locked { state -> Answer in
      let now = Instant.now
      switch state.detours.lookup(name, in: parent, by: thread, now) {
      case .none: return .none
      case .join(let pending): return .join(pending)
      case .hold: return .hold
      case .before(let id):
        guard let id else { return .entry(nil) }
        guard let directory = state.tree[parent], let node = state.tree[id] else { return .none }
        return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: 0))
      case .known:
        // The path is to lead where it has led before.
        guard let directory = state.tree[parent], let node = directory.children[name] else { return .none }
        return .entry(entry(for: node, as: name, in: directory, now: now, nameValidity: 0))
      }
    }
    switch answer {
    case .none: return request
    case .join(let pending): pending.resume(by: request)
    case .hold: hold(request) { [self] request in lookup(request, parent: parent, name: name) }
    case .entry(nil): request.fail(.noSuchFileOrDirectory)
    case .entry(let entry?): if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    }
    return nil
  }

  /// Has a request wait until its thread's question has an answer.
  func hold(_ request: consuming FUSERequest, _ body: @escaping PendingRequest.Answer) {
    let thread = request.process
    let pending = wait(request)
    let go: @Sendable () -> Void = { if let request = pending.take() { body(request) } }
    if !locked({ $0.detours.hold(go, for: thread) }) { go() }
  }

  // MARK: What the interrupts ask for

  func relieve(_ pending: PendingRequest) {
    switch pending.relief {
    case nil, .refused: break
    case .other(let answer): answer(pending)
    case .retry(let question, let before):
      let thread = pending.process
      // Only who names a file by its path asks again.
      if question.kind == .setattr, !ProcessThread(thread).isInCallWithPath { return }
      if question.kind == .lookup, ProcessThread(thread).isMakingName { return }
      guard locked({ $0.detours.hasRoom }), let request = pending.depart() else { return }
      let forsaken = locked { state in
        // Of an earlier call, which the thread has never come back for.
        let (_, forsaken) = state.detours.ask(question, by: thread, .now)
        state.detours.begin(question, before, pending, by: thread)
        return forsaken
      }
      forsaken?.forsake()
      if pending.isSettled { settled(pending) }
      request.fail(.staleNFSFileHandle)
    }
  }

  func settled(_ pending: PendingRequest) {
    for go in locked({ $0.detours.settle(pending.process, .now) }) { go() }
  }

  func stale(_ thread: Int32) {
    locked { $0.detours.note(stale: thread, .now) }
  }

  func expireDetours() -> Bool {
    let (late, isEmpty) = locked { ($0.detours.expire(.now), $0.detours.isEmpty) }
    for pending in late { pending.forsake() }
    return !isEmpty
  }

  /// Answers a lookup of a name that the kernel knows by what is known of it.
  func relief(byKnown name: [UInt8], in directory: Node, _ node: Node) -> PendingRequest.Relief {
    .other { [self] pending in
      let entry = locked { state -> FUSEEntry? in
        guard directory.children[name] === node else { return nil }
        return self.entry(for: node, as: name, in: directory, now: .now, nameValidity: 0)
      }
      guard let entry else { return }
      guard let request = pending.take() else { return undo(lookupOf: entry.node) }
      if !request.reply(entry: entry) { undo(lookupOf: entry.node) }
    }
  }
}

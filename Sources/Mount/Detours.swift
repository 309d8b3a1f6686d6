import P2PFSCore
import P2PFSWire

/// Which question of the kernel a request is, to know it again when it is asked a second time.
struct Question: Equatable, Sendable {
  /// Its kind.
  enum Kind: Sendable { case lookup, create, mknod, mkdir, symlink, link, unlink, rmdir, rename, setattr }

  let kind: Kind
  /// The directory and the name in it; of setattr only the file.
  let node: UInt64
  var name: [UInt8] = []
  /// The second directory of a rename, or the file that a link is made to.
  var otherNode: UInt64 = 0
  /// The second name of a rename, or the target of a symbolic link.
  var otherName: [UInt8] = []
  /// Mode and flags.
  var detail: [UInt32] = []
  /// Of setattr.
  var changes = AttributeChanges()
}

/// A name in a directory, and the node that it stood for when something was asked; nil for none.
struct NameBefore: Equatable, Sendable {
  let directory: UInt64
  let name: [UInt8]
  let node: UInt64?
}

/// Questions whose threads were answered ESTALE before there was an answer, so that the kernel lets go of a directory's
/// lock: it walks the path once more (LOOKUP_REVAL in fs/namei.c) and asks the same again, once.
///
/// What was asked goes on meanwhile. The thread's further lookups are held until it has ended, which holds no lock as
/// long as they are of directories above the name; then they are answered as before the change, or the kernel would
/// find what the thread's own mkdir has made. Then comes the question, and is given the answer that is there.
///
///     asked ── begin ──▶ under way ── settle ──▶ settled ── ask, or lookup of the name ──▶ gone
///                           └────── ask ──▶ gone          └── expire ──▶ gone
///
/// A plain value. `Change` is what the question will be answered by, `Waiter` what is held.
struct Detours<Change: Sendable, Waiter: Sendable>: Sendable {
  /// What to do with a lookup.
  enum Step: Sendable {
    /// It is no matter of this.
    case none
    /// It is the question itself.
    case join(Change)
    /// It waits (`hold`).
    case hold
    /// It is answered with this node; nil: there is no such name.
    case before(UInt64?)
    /// It is answered by what is known, if anything is.
    case known
  }

  private struct Detour: Sendable {
    let question: Question
    let before: [NameBefore]
    let change: Change
    var held: [Waiter] = []
    /// Once settled: until when the thread is waited for.
    var until: Instant?
  }

  private var threads: [Int32: Detour] = [:]
  /// When a thread was answered ESTALE for whatever reason: a second one in the same call would reach its program.
  private var tried: [Int32: Instant] = [:]

  init() {}

  var isEmpty: Bool { threads.isEmpty }

  /// Whether a question that a thread asks now may be answered ESTALE for this.
  func mayBegin(_ thread: Int32, _ now: Instant) -> Bool {
    guard thread > 0, threads[thread] == nil, hasRoom else { return false }
    return tried[thread].map { now.seconds(since: $0) > Limits.Mount.detour } ?? true
  }

  /// Whether there may be one more.
  var hasRoom: Bool { threads.count < Limits.Mount.detours && tried.count < Limits.Mount.detours }

  /// A thread is going to be answered ESTALE; `before`: what the names in its question stood for.
  mutating func begin(_ question: Question, _ before: [NameBefore], _ change: Change, by thread: Int32) {
    threads[thread] = Detour(question: question, before: before, change: change)
  }

  /// There is an answer to a thread's question.
  /// - Returns: what was held.
  mutating func settle(_ thread: Int32, _ now: Instant) -> [Waiter] {
    guard threads[thread] != nil else { return [] }
    defer { threads[thread]?.held = [] }
    threads[thread]?.until = now.advanced(by: Limits.Mount.settled)
    return threads[thread]?.held ?? []
  }

  /// A thread looks a name up.
  mutating func lookup(_ name: [UInt8], in directory: UInt64, by thread: Int32, _ now: Instant) -> Step {
    guard let detour = threads[thread] else { return .none }
    if detour.question == Question(kind: .lookup, node: directory, name: name) {
      end(thread, now)
      return .join(detour.change)
    }
    guard detour.until != nil else { return .hold }
    threads[thread]?.until = now.advanced(by: Limits.Mount.settled)
    return detour.before.first { $0.directory == directory && $0.name == name }.map { .before($0.node) } ?? .known
  }

  /// Whether anything else that a thread asks for is to wait.
  func holds(_ thread: Int32) -> Bool { threads[thread].map { $0.until == nil } ?? false }

  /// Has a request wait until the thread's question has an answer.
  /// - Returns: false if it has one by now.
  mutating func hold(_ waiter: Waiter, for thread: Int32) -> Bool {
    guard holds(thread) else { return false }
    threads[thread]?.held.append(waiter)
    return true
  }

  /// A thread asks for a change. What it was answered ESTALE for is over, whether this is it or not.
  /// - Returns: the change that this is, or one that its thread does not want to know of any more.
  mutating func ask(_ question: Question, by thread: Int32, _ now: Instant) -> (joined: Change?, forsaken: Change?) {
    guard let detour = threads[thread] else { return (nil, nil) }
    end(thread, now)
    return detour.question == question ? (detour.change, nil) : (nil, detour.change)
  }

  /// A thread was answered ESTALE for another reason.
  mutating func note(stale thread: Int32, _ now: Instant) {
    if tried.count >= Limits.Mount.detours { forgetTried(now) }
    tried[thread] = now
  }

  /// A thread is dead, or does not come: forgets what waits for it.
  mutating func expire(_ now: Instant) -> [Change] {
    forgetTried(now)
    let late = threads.filter { $0.value.until.map { $0 < now } ?? false }
    for thread in late.keys { threads[thread] = nil }
    return late.values.map(\.change)
  }

  /// Forgets everything.
  mutating func removeAll() -> [Change] {
    defer { threads = [:] }
    return threads.values.map(\.change)
  }

  private mutating func end(_ thread: Int32, _ now: Instant) {
    threads[thread] = nil
    note(stale: thread, now)
  }

  private mutating func forgetTried(_ now: Instant) {
    tried = tried.filter { now.seconds(since: $0.value) <= Limits.Mount.detour }
  }
}

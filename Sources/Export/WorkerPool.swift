import P2PFSCore
import Glibc

/// The threads that serve requests, fed by one `WorkQueue`.
///
/// Some are there all the time. While one of them is in a call that takes long, another one takes its place, which ends
/// when there are enough of them again: so a worker that hangs in a dead disk or a foreign FUSE filesystem blocks what
/// depends on it, and nothing else. A watcher looks at times for calls that take long; nothing is known beforehand of most.
///
/// The monitor guards the queue alone; no system call but the waiting itself happens under it.
final class WorkerPool<Work: Sendable>: Sendable {
  fileprivate struct State {
    var queue = WorkQueue<Work>()
    var isStopping = false
    var sessionCount = 0
    /// Threads that there are, and those of them that wait for work.
    var threads = 0
    var idle = 0
    /// Whether the watcher has nothing to watch, and waits to be told.
    var watcherRests = true
  }

  private enum Turn {
    case job(WorkQueue<Work>.Job)
    case end
  }

  private let state = Monitor(State())
  /// Changed when the watcher is to look again.
  private let watch = Monitor(false)
  private let prepare: @Sendable () -> Void
  private let perform: @Sendable (Work, _ arrival: UInt64) -> Void

  /// Starts threads, each of which first calls `prepare`; they call `perform` for each piece of work.
  init(
    prepare: @escaping @Sendable () -> Void, perform: @escaping @Sendable (Work, _ arrival: UInt64) -> Void
  ) {
    self.prepare = prepare
    self.perform = perform
    state.change { $0.threads = Limits.Export.workers }
    for _ in 0..<Limits.Export.workers { Worker.detached("export") { self.run() } }
    Worker.detached("export watch") { self.watchOver() }
  }

  /// Numbers a further session.
  func addSession() -> Int {
    state.update { state in
      state.sessionCount += 1
      state.queue.add(state.sessionCount)
      return (state.sessionCount, false)
    }
  }

  /// Queues a request of a session; `isSlow` says that it takes long as a rule. From any thread; never waits for a worker.
  /// - Returns: false if the session is over or has too many.
  func enqueue(_ work: Work, use: WorkQueue<Work>.HandleUse?, isSlow: Bool, of session: Int) -> Bool {
    var start = false
    let isQueued = state.update { state in
      guard !state.isStopping, state.queue.enqueue(work, use: use, isSlow: isSlow, of: session) else {
        return (false, false)
      }
      return (true, state.callsOne(&start))
    }
    if start { startThread() }
    return isQueued
  }

  /// Puts `work` in the place of all that the session has queued. What runs goes on to its end.
  /// - Returns: what was dropped, and whether `work` was queued.
  func replace(with work: Work, of session: Int) -> (dropped: [Work], isQueued: Bool) {
    var start = false
    let result = state.update { state in
      let dropped = state.queue.drain(session)
      let isQueued = !state.isStopping && state.queue.enqueue(work, use: nil, isSlow: true, of: session)
      return ((dropped: dropped, isQueued: isQueued), state.callsOne(&start))
    }
    if start { startThread() }
    return result
  }

  /// Forgets a session, which nobody uses any more.
  func remove(_ session: Int) {
    // The requests go after the lock: their sessions may be freed with them.
    let dropped = state.update { state in (state.queue.remove(session), false) }
    _ = consume dropped
  }

  /// The number of the last request of the session that arrived.
  func lastArrival(of session: Int) -> UInt64 {
    state.update { state in (state.queue.lastArrival(of: session), false) }
  }

  /// Ends the threads, each after what it runs. Does not wait.
  func end() {
    state.change { $0.isStopping = true }
    watch.change { $0 = true }
  }

  /// As `end`, and waits for the threads, but not for ever for one that hangs. Not on a worker.
  func stop() {
    end()
    let deadline = Instant.now.advanced(by: Double(Limits.Export.shutdown))
    _ = state.wait(until: deadline) { $0.threads == 0 ? () : nil }
  }

  // MARK: - Threads

  private func run() {
    prepare()
    // Of the job that was done only its number: an idle thread keeps no session and no message alive.
    var finished: UInt64?
    while case .job(let job) = take(after: finished) {
      perform(job.payload, job.arrival)
      finished = job.number
    }
  }

  /// Waits for the next request; `finished` is what this thread has just done.
  private func take(after finished: UInt64?) -> Turn {
    var (start, isIdle, wakesWatcher) = (false, false, false)
    var finished = finished
    let turn = state.take { state -> (Turn?, Bool) in
      if let number = finished { state.queue.finish(number) }
      finished = nil
      if isIdle { state.idle -= 1 }
      isIdle = false
      if !state.isStopping, let job = state.queue.next(at: .now) {
        wakesWatcher = state.watcherRests && state.queue.hasQuick
        if wakesWatcher { state.watcherRests = false }
        // It may not be the only one that can run now: a finished request lets in those that waited for its file.
        return (.job(job), state.callsOne(&start))
      }
      if state.isStopping || state.idle >= Limits.Export.workers {
        state.threads -= 1
        return (.end, false)
      }
      state.idle += 1
      isIdle = true
      return (nil, false)
    }
    if start { startThread() }
    if wakesWatcher { watch.change { $0 = true } }
    // Somebody may wait for the last thread.
    if case .end = turn { state.change { _ in } }
    return turn
  }

  private func startThread() {
    let isStarted = Worker.detachedIfPossible("export") { self.run() }
    // As many threads as the system allows: those that there are go on.
    if !isStarted { state.change { $0.threads -= 1 } }
  }

  /// While something runs, looks at short intervals for what has run for long, and has others run in its place.
  private func watchOver() {
    let interval = Limits.Export.slowCall / 2
    while true {
      let isStopping = state.update { state in
        state.watcherRests = !state.queue.hasQuick
        return (state.isStopping, false)
      }
      if isStopping { return }
      if state.update({ state in (state.watcherRests, false) }) {
        watch.wait { isCalled -> Void? in
          defer { isCalled = false }
          return isCalled ? () : nil
        }
      }
      usleep(UInt32(interval * 1e6))
      var start = 0
      state.update { state in
        state.queue.setAside(startedBefore: Instant.now.advanced(by: -Limits.Export.slowCall))
        var one = false
        var wakes = false
        repeat {
          one = false
          wakes = state.callsOne(&one) || wakes
          if one { start += 1 }
        } while one && start < Limits.Export.workers
        return ((), wakes)
      }
      for _ in 0..<start { startThread() }
    }
  }
}

extension WorkerPool.State {
  /// Whether a thread that waits is to be woken; if there is none, one is to be started. A thread that is awake looks for
  /// more before it sleeps, so a stream of requests to one file costs no wake-ups while one worker keeps up with it.
  fileprivate mutating func callsOne(_ start: inout Bool) -> Bool {
    guard queue.hasNext else { return false }
    if idle > 0 { return true }
    guard threads < Limits.Export.threads, !isStopping else { return false }
    threads += 1
    start = true
    return false
  }
}

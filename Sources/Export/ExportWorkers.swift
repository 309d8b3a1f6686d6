internal import CLinux
internal import Core
internal import Glibc
internal import Session
internal import Wire

/// The threads that serve requests: a fixed number, fed by one `WorkQueue`.
///
/// The lock guards the queue alone; no system call but the waiting itself happens under it. A worker that hangs in
/// a dead disk or a foreign FUSE filesystem blocks what depends on it, and one session can occupy only some of them.
final class ExportWorkers: @unchecked Sendable {
  // Everything mutable is guarded by `lock`.

  /// What a worker runs.
  struct Work {
    let session: ExportSession
    /// nil: the session is over.
    let request: (frame: Frame, exchange: Exchange)?
  }

  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  private let wake: UnsafeMutablePointer<pthread_cond_t>
  private var queue = WorkQueue<Work>(
    capacity: Limits.Export.queue, runningPerSession: Limits.Export.workersPerSession)
  private var threads: [pthread_t] = []
  private var isStopping = false
  private var sessionCount = 0
  /// Threads that wait for work.
  private var idle = 0
  private let prepare: @Sendable () -> Void

  /// Starts `Limits.Export.workers` threads, each of which first calls `prepare`.
  init(prepare: @escaping @Sendable () -> Void) {
    self.prepare = prepare
    lock = .allocate(capacity: 1)
    lock.initialize(to: pthread_mutex_t())
    pthread_mutex_init(lock, nil)
    wake = .allocate(capacity: 1)
    wake.initialize(to: pthread_cond_t())
    pthread_cond_init(wake, nil)
    for _ in 0..<Limits.Export.workers {
      var thread = pthread_t()
      // Balanced by the thread, when it ends.
      let retained = Unmanaged.passRetained(self)
      let result = pthread_create(
        &thread, nil,
        { argument in
          guard let argument else { return nil }
          let workers = Unmanaged<ExportWorkers>.fromOpaque(argument).takeRetainedValue()
          workers.run()
          return nil
        }, retained.toOpaque())
      guard result == 0 else {
        retained.release()
        break
      }
      threads.append(thread)
    }
    precondition(!threads.isEmpty, "no thread could be made")
  }

  deinit {
    pthread_cond_destroy(wake)
    pthread_mutex_destroy(lock)
    wake.deallocate()
    lock.deallocate()
  }

  /// Numbers a further session.
  func addSession() -> Int {
    withLock {
      sessionCount += 1
      queue.add(sessionCount)
      return sessionCount
    }
  }

  /// Queues a request. From any thread; never waits for a worker.
  /// - Returns: false if the session is over or has too many.
  func enqueue(_ work: Work, use: WorkQueue<Work>.HandleUse?) -> Bool {
    withLock {
      guard !isStopping, queue.enqueue(work, use: use, of: work.session.number) else { return false }
      wakeOne()
      return true
    }
  }

  /// Puts `work` in the place of all that the session has queued. What runs goes on to its end.
  /// - Returns: what was dropped, and whether `work` was queued.
  func replace(with work: Work) -> (dropped: [Work], isQueued: Bool) {
    withLock {
      let dropped = queue.drain(work.session.number)
      let isQueued = !isStopping && queue.enqueue(work, use: nil, of: work.session.number)
      wakeOne()
      return (dropped, isQueued)
    }
  }

  /// Forgets a session, which nobody uses any more.
  func remove(_ session: Int) {
    // The requests go after the lock: their sessions may be freed with them.
    let dropped = withLock { queue.remove(session) }
    _ = consume dropped
  }

  /// The number of the last request of the session that arrived.
  func lastArrival(of session: Int) -> UInt64 { withLock { queue.lastArrival(of: session) } }

  /// Ends the threads: each after what it runs. Waits for them, but not for ever for one that hangs.
  func stop() {
    let ending = withLock {
      isStopping = true
      pthread_cond_broadcast(wake)
      defer { threads = [] }
      return threads
    }
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += Limits.Export.shutdown
    for thread in ending where p2pfs_timedjoin(thread, &deadline) != 0 { pthread_detach(thread) }
  }

  private func run() {
    prepare()
    // Of the job that was done only what the queue needs: an idle thread keeps no session and no message alive.
    var finished: (session: Int, use: WorkQueue<Work>.HandleUse?)?
    while let job = take(after: finished) {
      job.payload.session.perform(job.payload, arrival: job.arrival)
      finished = (job.session, job.use)
    }
  }

  /// Waits for the next request; `finished` is what this thread has just done.
  private func take(after finished: (session: Int, use: WorkQueue<Work>.HandleUse?)?) -> WorkQueue<Work>.Job? {
    withLock {
      if let finished { queue.finish(finished.session, finished.use) }
      while !isStopping {
        if let job = queue.next() {
          // It may not be the only one that can run now: a finished request lets in those that waited for its file.
          wakeOne()
          return job
        }
        idle += 1
        pthread_cond_wait(wake, lock)
        idle -= 1
      }
      return nil
    }
  }

  /// Wakes a thread if there is something for it to run. A thread that is awake looks for more before it sleeps, so
  /// a stream of requests to one file costs no wake-ups while one worker keeps up with it. Under the lock.
  private func wakeOne() {
    if idle > 0, queue.hasNext { pthread_cond_signal(wake) }
  }

  private func withLock<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return body()
  }
}

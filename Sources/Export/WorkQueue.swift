import P2PFSCore
import DequeModule

/// Which request runs next: the sessions take turns, and on one handle requests keep their order.
///
/// A request that changes an open file runs alone on its handle, in the order of arrival; those that only read
/// run side by side between two of these:
///
/// ```
///        admitted if its handle is free             taken in turn
/// enqueue ──────────────┬───────────────▶ waiting ─────────────────▶ running ──▶ finish
///                       │ else               ▲                          │ slow     ▲
///                       └──▶ parked ─────────┘                          ▼          │
///                      the handle became free                         aside ───────┘
/// ```
/// Quick requests share a few places (`Bounds.running`). What is known to be slow (an fsync waits for a disk), or has
/// turned out to be (`setAside`), stands **aside**: it takes none of these places, only one of its session's, of which there
/// are more. So a session can fill its own, and hold up nobody else; and what is known to be slow cannot fill even these.
///
/// A plain value: the caller has the lock, the threads and the time. Bounded by `Bounds.waiting` requests a session.
struct WorkQueue<Payload> {
  /// How many requests there may be.
  struct Bounds {
    /// Of one session, waiting and running.
    var waiting = Limits.Export.queue
    /// Quick ones that run at once, of all sessions and of one.
    var running = Limits.Export.workers
    var runningOfSession = Limits.Export.workersPerSession
    /// Those of one session that run at once, aside or not, and those among them that are known to be slow.
    var allOfSession = Limits.Export.threadsPerSession
    var slowOfSession = Limits.Export.slowPerSession
  }

  /// How a request uses a handle.
  struct HandleUse {
    let handle: UInt64
    /// It runs alone.
    let isExclusive: Bool
  }

  /// A request that is to run; `finish` takes its number.
  struct Job {
    let session: Int
    let use: HandleUse?
    /// Whether it is known to take long.
    let isSlow: Bool
    /// Counts the requests of the session.
    let arrival: UInt64
    let payload: Payload
    /// Counts those that run.
    var number: UInt64 = 0
  }

  fileprivate struct HandleState {
    var readers = 0
    var hasWriter = false
    var parked = Deque<Job>()

    func admits(_ use: HandleUse) -> Bool { !hasWriter && (!use.isExclusive || readers == 0) }

    mutating func enter(_ use: HandleUse) {
      if use.isExclusive { hasWriter = true } else { readers += 1 }
    }

    mutating func leave(_ use: HandleUse) {
      if use.isExclusive { hasWriter = false } else { readers -= 1 }
    }
  }

  fileprivate struct SessionState {
    var quick = Deque<Job>()
    var slow = Deque<Job>()
    var handles: [UInt64: HandleState] = [:]
    var count = 0
    /// All that run, and among them those that are not aside and those that are known to be slow.
    var running = 0
    var runningQuick = 0
    var runningSlow = 0
    var arrivals: UInt64 = 0
    var isInQuickTurn = false
    var isInSlowTurn = false

    mutating func wait(_ job: Job) {
      if job.isSlow { slow.append(job) } else { quick.append(job) }
    }
  }

  private struct Running {
    let session: Int
    let use: HandleUse?
    let isSlow: Bool
    let since: Instant
    var isAside: Bool
  }

  private let bounds: Bounds
  private var sessions: [Int: SessionState] = [:]
  /// Sessions that may run something, each once; the first is next.
  private var quickTurn = Deque<Int>()
  private var slowTurn = Deque<Int>()
  private var running: [UInt64: Running] = [:]
  private var lastNumber: UInt64 = 0
  private var runningQuick = 0

  init(_ bounds: Bounds = Bounds()) { self.bounds = bounds }

  /// Adds a session with the number `session`.
  mutating func add(_ session: Int) { sessions[session] = SessionState() }

  /// Whether `next` has something to give.
  var hasNext: Bool { !slowTurn.isEmpty || runningQuick < bounds.running && !quickTurn.isEmpty }

  /// Whether something runs that stands in the place of others.
  var hasQuick: Bool { runningQuick > 0 }

  /// The number of the last request of `session` that arrived.
  func lastArrival(of session: Int) -> UInt64 { sessions[session]?.arrivals ?? 0 }

  /// Adds a request.
  /// - Returns: false if the session is gone or has too many.
  mutating func enqueue(_ payload: Payload, use: HandleUse?, isSlow: Bool, of session: Int) -> Bool {
    guard let count = sessions[session]?.count, count < bounds.waiting else { return false }
    withSession(session) { state in
      state.arrivals += 1
      state.count += 1
      let job = Job(session: session, use: use, isSlow: isSlow, arrival: state.arrivals, payload: payload)
      guard let use else { return state.wait(job) }
      var handle = state.handles[use.handle] ?? HandleState()
      if handle.parked.isEmpty, handle.admits(use) {
        handle.enter(use)
        state.wait(job)
      } else {
        handle.parked.append(job)
      }
      state.handles[use.handle] = handle
    }
    return true
  }

  /// Takes the next request to run; nil if none may. Those that take no place go first.
  mutating func next(at now: Instant) -> Job? {
    while let session = slowTurn.popFirst() {
      if let job = begin(session, isSlow: true, at: now) { return job }
    }
    while runningQuick < bounds.running, let session = quickTurn.popFirst() {
      if let job = begin(session, isSlow: false, at: now) { return job }
    }
    return nil
  }

  private mutating func begin(_ session: Int, isSlow: Bool, at now: Instant) -> Job? {
    var job: Job?
    let bounds = bounds
    withSession(session) { state in
      if isSlow { state.isInSlowTurn = false } else { state.isInQuickTurn = false }
      // It may have filled its places since it got its turn.
      guard isSlow ? state.mayRunSlow(bounds) : state.mayRunQuick(bounds) else { return }
      job = isSlow ? state.slow.popFirst() : state.quick.popFirst()
      state.running += 1
      if isSlow { state.runningSlow += 1 } else { state.runningQuick += 1 }
    }
    guard var job else { return nil }
    lastNumber += 1
    job.number = lastNumber
    if !isSlow { runningQuick += 1 }
    running[lastNumber] = Running(session: session, use: job.use, isSlow: isSlow, since: now, isAside: isSlow)
    return job
  }

  /// Sets aside what has run for longer than since `start`: others may run in its place.
  mutating func setAside(startedBefore start: Instant) {
    for (number, job) in running where !job.isAside && job.since < start {
      running[number]?.isAside = true
      runningQuick -= 1
      withSession(job.session) { $0.runningQuick -= 1 }
    }
  }

  /// A request is done.
  mutating func finish(_ number: UInt64) {
    guard let job = running.removeValue(forKey: number) else { return }
    if !job.isAside { runningQuick -= 1 }
    withSession(job.session) { state in
      state.running -= 1
      state.count -= 1
      if job.isSlow { state.runningSlow -= 1 }
      if !job.isAside { state.runningQuick -= 1 }
      guard let use = job.use, var handle = state.handles[use.handle] else { return }
      handle.leave(use)
      while let next = handle.parked.first?.use, handle.admits(next), let parked = handle.parked.popFirst() {
        handle.enter(next)
        state.wait(parked)
      }
      let isFree = handle.readers == 0 && !handle.hasWriter && handle.parked.isEmpty
      state.handles[use.handle] = isFree ? nil : handle
    }
  }

  /// Takes out of the queue what has not begun. The session stays.
  mutating func drain(_ session: Int) -> [Payload] {
    var dropped: [Payload] = []
    withSession(session) { state in
      for job in state.slow + state.quick {
        dropped.append(job.payload)
        if let use = job.use { state.handles[use.handle]?.leave(use) }
      }
      state.slow = []
      state.quick = []
      for handle in state.handles.keys {
        dropped += state.handles[handle]?.parked.map(\.payload) ?? []
        state.handles[handle]?.parked = []
      }
      state.handles = state.handles.filter { $0.value.hasWriter || $0.value.readers > 0 }
      state.count = state.running
    }
    leaveTurns(session)
    return dropped
  }

  /// Forgets a session.
  /// - Returns: its requests that did not begin; those that run are not counted as its own any more.
  mutating func remove(_ session: Int) -> [Payload] {
    let dropped = drain(session)
    sessions[session] = nil
    return dropped
  }

  private mutating func leaveTurns(_ session: Int) {
    quickTurn.removeAll { $0 == session }
    slowTurn.removeAll { $0 == session }
    sessions[session]?.isInQuickTurn = false
    sessions[session]?.isInSlowTurn = false
  }

  /// Changes a session, in place, and gives it its turns if it may run something.
  private mutating func withSession(_ session: Int, _ body: (inout SessionState) -> Void) {
    guard let index = sessions.index(forKey: session) else { return }
    body(&sessions.values[index])
    let mayQuick = sessions.values[index].mayRunQuick(bounds)
    let maySlow = sessions.values[index].mayRunSlow(bounds)
    if mayQuick {
      sessions.values[index].isInQuickTurn = true
      quickTurn.append(session)
    }
    if maySlow {
      sessions.values[index].isInSlowTurn = true
      slowTurn.append(session)
    }
  }
}

extension WorkQueue.SessionState {
  fileprivate func mayRunQuick(_ bounds: WorkQueue.Bounds) -> Bool {
    !isInQuickTurn && !quick.isEmpty && runningQuick < bounds.runningOfSession && running < bounds.allOfSession
  }

  fileprivate func mayRunSlow(_ bounds: WorkQueue.Bounds) -> Bool {
    !isInSlowTurn && !slow.isEmpty && runningSlow < bounds.slowOfSession && running < bounds.allOfSession
  }
}

/// Which request runs next: the sessions take turns, and on one handle requests keep their order.
///
/// A request that changes an open file runs alone on its handle, in the order of arrival; those that only read
/// run side by side between two of these:
///
/// ```
///        admitted if its handle is free             taken in turn
/// enqueue ──────────────┬───────────────▶ waiting ─────────────────▶ running ──▶ finish
///                       │ else               ▲                                      │
///                       └──▶ parked ─────────┴──── the handle became free ◀─────────┘
/// ```
/// A plain value: the caller has the lock and the threads. Bounded by `capacity` requests a session.
struct WorkQueue<Payload> {
  /// How a request uses a handle.
  struct HandleUse {
    let handle: UInt64
    /// It runs alone.
    let isExclusive: Bool
  }

  /// A request that is to run, for `finish`.
  struct Job {
    let session: Int
    let use: HandleUse?
    /// Counts the requests of the session.
    let arrival: UInt64
    let payload: Payload
  }

  private struct HandleState {
    var readers = 0
    var hasWriter = false
    var parked: ArraySlice<Job> = []

    func admits(_ use: HandleUse) -> Bool { !hasWriter && (!use.isExclusive || readers == 0) }

    mutating func enter(_ use: HandleUse) {
      if use.isExclusive { hasWriter = true } else { readers += 1 }
    }
  }

  private struct SessionState {
    var waiting: ArraySlice<Job> = []
    var handles: [UInt64: HandleState] = [:]
    var count = 0
    var running = 0
    var arrivals: UInt64 = 0
    var isInTurn = false
  }

  private let capacity: Int
  private let runningPerSession: Int
  private var sessions: [Int: SessionState] = [:]
  /// Sessions that may run something, each once; the first is next.
  private var turn: ArraySlice<Int> = []

  /// A queue of `capacity` requests a session, of which `runningPerSession` run at once.
  init(capacity: Int, runningPerSession: Int) {
    self.capacity = capacity
    self.runningPerSession = runningPerSession
  }

  /// Adds a session with the number `session`.
  mutating func add(_ session: Int) { sessions[session] = SessionState() }

  /// Whether nothing waits and nothing runs.
  var isEmpty: Bool { sessions.values.allSatisfy { $0.count == 0 } }

  /// Whether `next` has something to give.
  var hasNext: Bool { !turn.isEmpty }

  /// The number of the last request of `session` that arrived.
  func lastArrival(of session: Int) -> UInt64 { sessions[session]?.arrivals ?? 0 }

  /// Adds a request.
  /// - Returns: false if the session is gone or has too many.
  mutating func enqueue(_ payload: Payload, use: HandleUse?, of session: Int) -> Bool {
    guard let count = sessions[session]?.count, count < capacity else { return false }
    withSession(session) { state in
      state.arrivals += 1
      state.count += 1
      let job = Job(session: session, use: use, arrival: state.arrivals, payload: payload)
      guard let use else { return state.waiting.append(job) }
      var handle = state.handles[use.handle] ?? HandleState()
      if handle.parked.isEmpty, handle.admits(use) {
        handle.enter(use)
        state.waiting.append(job)
      } else {
        handle.parked.append(job)
      }
      state.handles[use.handle] = handle
    }
    return true
  }

  /// Takes the next request to run; nil if none may.
  mutating func next() -> Job? {
    guard let session = turn.popFirst() else { return nil }
    var job: Job?
    withSession(session) { state in
      state.isInTurn = false
      job = state.waiting.popFirst()
      state.running += 1
    }
    return job
  }

  /// A request of `session` is done, which used a handle as `use` says.
  mutating func finish(_ session: Int, _ use: HandleUse?) {
    withSession(session) { state in
      state.running -= 1
      state.count -= 1
      guard let use, var handle = state.handles[use.handle] else { return }
      if use.isExclusive { handle.hasWriter = false } else { handle.readers -= 1 }
      while let next = handle.parked.first?.use, handle.admits(next), let parked = handle.parked.popFirst() {
        handle.enter(next)
        state.waiting.append(parked)
      }
      let isFree = handle.readers == 0 && !handle.hasWriter && handle.parked.isEmpty
      state.handles[use.handle] = isFree ? nil : handle
    }
  }

  /// Takes out of the queue what has not begun. The session stays.
  mutating func drain(_ session: Int) -> [Payload] {
    var dropped: [Payload] = []
    withSession(session) { state in
      dropped = state.waiting.map(\.payload)
      for job in state.waiting {
        guard let use = job.use, var handle = state.handles[use.handle] else { continue }
        if use.isExclusive { handle.hasWriter = false } else { handle.readers -= 1 }
        state.handles[use.handle] = handle
      }
      state.waiting = []
      for handle in state.handles.keys {
        dropped += state.handles[handle]?.parked.map(\.payload) ?? []
        state.handles[handle]?.parked = []
      }
      state.handles = state.handles.filter { $0.value.hasWriter || $0.value.readers > 0 }
      state.count = state.running
      state.isInTurn = false
    }
    turn.removeAll { $0 == session }
    return dropped
  }

  /// Forgets a session.
  /// - Returns: its requests that did not begin; those that run are not finished here any more.
  mutating func remove(_ session: Int) -> [Payload] {
    guard let state = sessions.removeValue(forKey: session) else { return [] }
    turn.removeAll { $0 == session }
    return (Array(state.waiting) + state.handles.values.flatMap { Array($0.parked) }).map(\.payload)
  }

  /// Changes a session, in place, and gives it its turn if it may run something.
  private mutating func withSession(_ session: Int, _ body: (inout SessionState) -> Void) {
    guard let index = sessions.index(forKey: session) else { return }
    body(&sessions.values[index])
    let state = sessions.values[index]
    guard !state.isInTurn, !state.waiting.isEmpty, state.running < runningPerSession else { return }
    sessions.values[index].isInTurn = true
    turn.append(session)
  }
}

import P2PFSCore
import DequeModule
import Glibc
import Synchronization

/// The inside of a `PeerConnection`: ICE below, DTLS on it, SCTP on that, and the channels on top.
///
/// It owns the layers, tells `ConnectionState` what they report, and executes the actions that come back.
// @unchecked: everything but the constants, `lastHeard`, `isFailing` and `outbox` belongs to the transport thread.
final class Connection: @unchecked Sendable {
  let configuration: ICEConfiguration
  let thread = TransportThread.shared
  /// When the last record that decrypted came in, nanoseconds of the monotonic clock; 0 before the first.
  let lastHeard = Atomic<UInt64>(0)
  /// Whether the kernel refused to send the last datagram.
  let isFailing = Atomic<Bool>(false)
  /// What is known, and what may happen next.
  var state: ConnectionState

  /// Takes messages of the channels from any thread. Set once, by init.
  private(set) var outbox: Outbox!
  let candidates: AsyncStream<Candidate>.Continuation
  let incoming: AsyncStream<DataChannel>.Continuation

  // Layers
  var certificate: Certificate?
  var ice: ICEAgent?
  var dtls: DTLS?
  var association: Association?
  /// Largest datagram in bytes on the selected path.
  var payload = 1_200

  // Sending
  var batch = DatagramBatch()
  /// The socket of a direct path; nil while there is none or a relay is used.
  var direct: DirectSocket?
  /// Sends again what the socket had no room for.
  var retry: Timer?
  /// Sends what the pacer holds back.
  var pacing: Timer?
  /// Whether `endTurn` will be called.
  private var isDirty = false
  /// Datagrams received since the last acknowledgements could leave.
  var receivedInRow = 0

  // Channels
  var streams = StreamTable<DataChannel>()
  let kept = KeptMessages()
  /// Channels with something to send, the next one first.
  var ready = Deque<DataChannel>()
  /// What was just taken from the outbox; empty but within `pump`.
  var taken: [(DataChannel, DataChannel.Outgoing)] = []

  // Waiting
  private var deadline: Timer?
  /// Those who wait until it is up, and until it is torn down.
  private var waiting: [CheckedContinuation<Result<Void, TransportError>, Never>] = []
  private var waitingForEnd: [CheckedContinuation<TransportError, Never>] = []

  init(
    role: ConnectionRole, configuration: ICEConfiguration, candidates: AsyncStream<Candidate>.Continuation,
    incoming: AsyncStream<DataChannel>.Continuation
  ) {
    self.configuration = configuration
    self.candidates = candidates
    self.incoming = incoming
    state = ConnectionState(role: role, servers: configuration.servers)
    outbox = Outbox(
      wake: { [weak self] in self?.markDirty() },
      overrun: { [weak self] in self?.end(.wrongState("more is queued than a connection may hold")) })
  }

  deinit { precondition(ice == nil, "a connection must be closed before it goes") }

  /// Has `endTurn` called.
  func markDirty() {
    guard !isDirty else { return }
    isDirty = true
    thread.atEndOfTurn(self)
  }

  // MARK: Life

  /// Calls back when it is up, or will never be.
  func whenUp(_ continuation: CheckedContinuation<Result<Void, TransportError>, Never>) {
    if let ended = state.ended {
      continuation.resume(returning: .failure(ended))
    } else if state.sends {
      continuation.resume(returning: .success(()))
    } else {
      waiting.append(continuation)
    }
  }

  /// Calls back when it is over and torn down.
  func whenEnded(_ continuation: CheckedContinuation<TransportError, Never>) {
    if let error = state.endedAndTornDown {
      continuation.resume(returning: error)
    } else {
      waitingForEnd.append(continuation)
    }
  }

  /// Closes it: what is queued and in flight has a moment to be acknowledged first.
  func close() {
    let isSending = isDirty || !ready.isEmpty || (association?.inFlight ?? 0) > 0
    perform(state.close(isSending: isSending, at: .now))
  }

  /// Ends the connection. May be called within a library's callback.
  func end(_ error: TransportError) { perform(state.end(error)) }

  func perform(_ actions: [ConnectionState.Action]) { for action in actions { perform(action) } }

  func perform(_ action: ConnectionState.Action?) {
    switch action {
    case nil: break
    case .announce(let candidate): candidates.yield(candidate)
    case .finishCandidates: candidates.finish()
    case .startChecks(let remote):
      ice?.setRemote(fragment: remote.fragment, password: remote.password)
      for candidate in remote.candidates { ice?.add(candidate) }
      if remote.isComplete { ice?.endOfRemoteCandidates() }
    case .check(let candidate): ice?.add(candidate)
    case .endRemoteCandidates: ice?.endOfRemoteCandidates()
    case .usePath: usePath()
    case .scheduleHandshake:
      thread.enqueue { [weak self] in
        guard let self else { return }
        perform(state.startHandshake())
      }
    case .handshake(let isClient, let fingerprint, let received): handshake(isClient, fingerprint, received)
    case .associate(let port, let remotePort): associate(port, remotePort)
    case .reportUp:
      for continuation in waiting { continuation.resume(returning: .success(())) }
      waiting = []
      markDirty()
    case .drain: markDirty()
    case .wake(let time): wake(at: time)
    case .end(let error): finish(error)
    }
  }

  private func wake(at time: Instant) {
    if deadline == nil {
      deadline = Timer(on: thread) { [weak self] in
        guard let self else { return }
        perform(state.timedOut(at: .now))
      }
    }
    deadline?.set(after: max(0, time.seconds(since: .now)))
  }

  /// Tells everybody that it is over.
  private func finish(_ error: TransportError) {
    outbox.close()
    for continuation in waiting { continuation.resume(returning: .failure(error)) }
    waiting = []
    for channel in streams.all { channel.delivery.end(error) }
    candidates.finish()
    incoming.finish()
    // Strongly: the layers live until they are torn down.
    thread.enqueue { self.tearDown(error) }
  }

  private func tearDown(_ error: TransportError) {
    association?.close()  // ABORT, through DTLS
    dtls?.close()  // close_notify
    flush()
    association = nil
    dtls = nil
    deadline = nil
    retry = nil
    pacing = nil
    direct = nil
    ice?.close()
    ice = nil
    streams = StreamTable()
    ready = []
    state.tearDown()
    for continuation in waitingForEnd { continuation.resume(returning: error) }
    waitingForEnd = []
  }
}

extension Connection: EndOfTurn {
  func endTurn() {
    isDirty = false
    receivedInRow = 0
    guard state.ended == nil else { return }
    pump()
    flush()
    if ready.isEmpty, association?.inFlight == 0 { perform(state.drained()) }
  }

  /// Sends the batch: by our own system calls on a direct path, through libnice on a relayed one.
  func flush() {
    guard !batch.isEmpty else { return }
    guard let direct else {
      batch.forEach { ice?.send($0) }
      batch.removeAll()
      return
    }
    let isSent = direct.send(&batch)
    isFailing.store(direct.isFailing, ordering: .relaxed)
    if !isSent {
      // The socket's buffer is full: it empties at the speed of the interface.
      if retry == nil { retry = Timer(on: thread) { [weak self] in self?.markDirty() } }
      retry?.set(after: 0.001)
    }
  }
}

import P2PFSCore
import DequeModule
import Glibc
import Synchronization

/// The inside of a `PeerConnection`: ICE below, DTLS on it, SCTP on that, and the channels on top.
///
/// ```
/// idle ─local description→ gathering ─remote description→ checking ─pair selected→ DTLS ─verified→ SCTP ─→ up
///   └──────────────────────────────── any error, or close ──────────────────────────────────→ ended → torn down
/// ```
/// `end` may happen within a callback of a library; the tear-down is a job of its own, outside of all of them.
// @unchecked: everything but `lastHeard`, `isFailing`, `outbox` and the streams belongs to the transport thread.
final class Connection: @unchecked Sendable {
  let role: PeerConnection.Role
  let configuration: ICEConfiguration
  let thread = TransportThread.shared
  /// When the last record that decrypted came in, nanoseconds of the monotonic clock; 0 before the first.
  let lastHeard = Atomic<UInt64>(0)
  /// Whether the kernel refused to send the last datagram.
  let isFailing = Atomic<Bool>(false)

  private(set) var outbox: Outbox!
  let candidates: AsyncStream<Candidate>.Continuation
  let incoming: AsyncStream<DataChannel>.Continuation

  // Descriptions
  var certificate: Certificate?
  var local: SessionDescription?
  var remote: SessionDescription?
  var isGathered = false
  var isDescribed = false
  var isClient = false
  var localCount = CandidateCount()
  var earlyCandidates: [Candidate] = []
  var remoteEnded = false

  // Layers
  var ice: ICEAgent?
  var dtls: DTLS?
  var association: Association?
  var isSelected = false
  var earlyDatagrams: [[UInt8]] = []
  var payload = 1_200

  // Sending
  var batch = DatagramBatch()
  var direct: DirectSocket?
  var retry: Timer?
  var pacing: Timer?
  var isDirty = false
  var receivedInRow = 0

  // Channels
  var channels: [UInt16: DataChannel] = [:]
  let kept = KeptMessages()
  var ready = Deque<DataChannel>()
  var taken: [(DataChannel, DataChannel.Outgoing)] = []
  var resets: [UInt16] = []
  var closingChannels: [UInt16: (ours: Bool, theirs: Bool)] = [:]
  var openedBefore: [DataChannel] = []

  // Life
  var isUp = false
  private(set) var ended: TransportError?
  private var isTornDown = false
  private var isLingering = false
  private var deadline: Timer?
  private var waiting: [CheckedContinuation<Result<Void, TransportError>, Never>] = []
  private var waitingForEnd: [CheckedContinuation<TransportError, Never>] = []

  init(
    role: PeerConnection.Role, configuration: ICEConfiguration, candidates: AsyncStream<Candidate>.Continuation,
    incoming: AsyncStream<DataChannel>.Continuation
  ) {
    self.role = role
    self.configuration = configuration
    self.candidates = candidates
    self.incoming = incoming
    outbox = Outbox(
      wake: { [weak self] in self?.markDirty() },
      overrun: { [weak self] in self?.end(.wrongState("more is queued than a connection may hold")) })
  }

  deinit { precondition(isTornDown || ice == nil, "a connection must be closed before it goes") }

  /// Has `endTurn` called.
  func markDirty() {
    guard !isDirty else { return }
    isDirty = true
    thread.atEndOfTurn(self)
  }

  // MARK: Life

  /// Starts the time within which the connection must be up.
  func startDeadline() {
    deadline = Timer(on: thread) { [weak self] in
      guard let self, !isUp else { return }
      end(isSelected ? .handshakeTimeout : .noPath(tried: tried))
    }
    deadline?.set(after: Limits.Transport.connecting)
  }

  /// What was tried to find a path.
  private var tried: String {
    func kinds(_ candidates: [Candidate]) -> String {
      let counts = Dictionary(grouping: candidates, by: \.kind).mapValues(\.count)
      let order: [(Candidate.Kind, String)] = [
        (.host, "local"), (.srflx, "reflexive"), (.prflx, "learned"), (.relay, "relayed"),
      ]
      let parts = order.compactMap { kind, name in counts[kind].map { "\($0) \(name)" } }
      return parts.isEmpty ? "no addresses" : parts.joined(separator: ", ")
    }
    let servers = configuration.servers.map(\.description).joined(separator: ", ")
    return "\(kinds(local?.candidates ?? [])) here, \(kinds(remote?.candidates ?? [])) there; "
      + (servers.isEmpty ? "no STUN or TURN server" : "servers \(servers)")
  }

  /// Everything is up.
  func cameUp() {
    guard ended == nil, !isUp else { return }
    isUp = true
    deadline = nil
    for continuation in waiting { continuation.resume(returning: .success(())) }
    waiting = []
    markDirty()
  }

  /// Calls back when it is up, or will never be.
  func whenUp(_ continuation: CheckedContinuation<Result<Void, TransportError>, Never>) {
    if let ended {
      continuation.resume(returning: .failure(ended))
    } else if isUp {
      continuation.resume(returning: .success(()))
    } else {
      waiting.append(continuation)
    }
  }

  /// Calls back when it is over and torn down.
  func whenEnded(_ continuation: CheckedContinuation<TransportError, Never>) {
    if isTornDown, let ended { continuation.resume(returning: ended) } else { waitingForEnd.append(continuation) }
  }

  /// Closes it: what is queued and in flight has a moment to be acknowledged first.
  func close() {
    guard ended == nil, !isLingering else { return }
    guard isUp, let association, association.inFlight > 0 || !ready.isEmpty || !taken.isEmpty || isDirty else {
      return end(.closed)
    }
    isLingering = true
    deadline = Timer(on: thread) { [weak self] in self?.end(.closed) }
    deadline?.set(after: Limits.Transport.linger)
    markDirty()
  }

  /// Ends a lingering close when nothing is left.
  func endLingering() {
    guard isLingering, ready.isEmpty, association?.inFlight == 0 else { return }
    end(.closed)
  }

  /// Ends the connection. May be called within a library's callback.
  func end(_ error: TransportError) {
    guard ended == nil else { return }
    ended = error
    deadline = nil
    outbox.close()
    for continuation in waiting { continuation.resume(returning: .failure(error)) }
    waiting = []
    for channel in channels.values { channel.delivery.end(error) }
    candidates.finish()
    incoming.finish()
    // Strongly: the layers live until they are torn down.
    thread.enqueue { self.tearDown() }
  }

  private func tearDown() {
    guard !isTornDown else { return }
    isTornDown = true
    association?.close()  // ABORT, through DTLS
    dtls?.close()  // close_notify
    flush()
    association = nil
    dtls = nil
    retry = nil
    pacing = nil
    direct = nil
    ice?.close()
    ice = nil
    channels = [:]
    ready = []
    let error = ended ?? .closed
    for continuation in waitingForEnd { continuation.resume(returning: error) }
    waitingForEnd = []
  }
}

extension Connection: EndOfTurn {
  func endTurn() {
    isDirty = false
    receivedInRow = 0
    guard ended == nil else { return }
    pump()
    flush()
    endLingering()
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

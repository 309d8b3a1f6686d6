import P2PFSCore

/// The life of one connection as a plain value: its inputs are methods, time is an argument, and what is to be done
/// comes back as actions for `Connection`, which owns the layers.
///
/// ```
/// idle ─describe→ describing ─→ gathering ─setRemote→ checking ─pair selected→ handshaking ─peer verified→ associating
///                     └─────── the offer is known ───────↑                                                      │
///                                             torn down ← ended ← lingering ←close─ up ←─association is up──────┘
/// ```
/// Every state but the last goes to `ended`: by an error, by a deadline, or by `close`. Inputs that mean nothing in a
/// state are ignored there, since the libraries and the peer may report anything at any time.
struct ConnectionState {
  // Indirect: one word, so that looking at it costs nothing for each packet.
  indirect enum Phase {
    /// Nothing was started. An answerer gets the offer here.
    case idle(EarlyRemote)
    /// Within `PeerConnection.localDescription`: what is gathered now goes into the description that is returned.
    case describing(LocalSide, EarlyRemote)
    /// The offer is made, the answer is not here yet.
    case gathering(LocalSide, EarlyRemote, EarlyDatagrams)
    /// ICE looks for a pair that works.
    case checking(Descriptions, deadline: Instant, EarlyDatagrams)
    /// A pair works. The datagrams wait for DTLS to be started; nil since it runs.
    case handshaking(Descriptions, deadline: Instant, EarlyDatagrams?)
    /// The peer is verified, the SCTP association is being set up.
    case associating(Descriptions, deadline: Instant)
    case up(Descriptions)
    /// Closed by us: what was sent has until the deadline to be acknowledged.
    case lingering(Descriptions, deadline: Instant)
    /// Over; the layers still exist, since this may happen within their callbacks.
    case ended(TransportError)
    /// Over, and the layers are gone.
    case tornDown(TransportError)
  }

  /// What `Connection` is to do.
  enum Action: Equatable {
    /// Tell the peer of a candidate of ours.
    case announce(Candidate)
    /// Tell the peer that there are no more.
    case finishCandidates
    /// Give the peer's credentials and candidates to ICE.
    case startChecks(SessionDescription)
    /// Give one more candidate of the peer to ICE.
    case check(Candidate)
    /// Tell ICE that the peer has no more candidates.
    case endRemoteCandidates
    /// Send on the pair that ICE has selected.
    case usePath
    /// Call `startHandshake` when no callback of ICE is running.
    case scheduleHandshake
    /// Start DTLS, and give it the datagrams that came before.
    case handshake(isClient: Bool, expecting: Fingerprint, received: [[UInt8]])
    /// Start SCTP between these ports.
    case associate(port: UInt16, remotePort: UInt16)
    /// Tell those who wait for the connection to be up, and send what is queued.
    case reportUp
    /// Send what is queued, and call `drained` when nothing is left.
    case drain
    /// Call `timedOut` then.
    case wake(at: Instant)
    /// Report the error to all who wait; then, when no callback is running, close the layers and call `tearDown`.
    case end(TransportError)
  }

  /// What is to be done with a datagram.
  enum Destination: Equatable {
    case dtls
    /// Nothing more: it is kept until DTLS is started, or is not DTLS at all.
    case none
  }

  /// Which description this side makes.
  let role: ConnectionRole
  private let servers: [ICEServer]
  /// For the extensions of this type only.
  var phase = Phase.idle(EarlyRemote())

  /// The state of a new connection. `servers` are those that ICE asks; they are named in `TransportError.noPath`.
  init(role: ConnectionRole, servers: [ICEServer]) {
    self.role = role
    self.servers = servers
  }
}

// MARK: - What it is

extension ConnectionState {
  /// Why it is over; nil as long as it is not.
  var ended: TransportError? {
    switch phase {
    case .ended(let error), .tornDown(let error): error
    default: nil
    }
  }

  /// As `ended`, once the layers are gone.
  var endedAndTornDown: TransportError? { if case .tornDown(let error) = phase { error } else { nil } }

  /// Whether SCTP takes messages.
  var sends: Bool {
    switch phase {
    case .up, .lingering: true
    default: false
    }
  }

  /// Whether we are the DTLS client, whose channels have even stream numbers; nil before the descriptions are known.
  var isClient: Bool? { descriptions?.isClient }

  /// Whether a channel may be opened.
  /// - Throws: why not.
  func requireUp() throws(TransportError) {
    switch phase {
    case .up: return
    case .lingering: throw .closed
    case .ended(let error), .tornDown(let error): throw error
    default: throw .wrongState("not connected yet")
    }
  }
}

// MARK: - Layers

extension ConnectionState {
  /// ICE has selected a pair, or a better one.
  mutating func pairSelected() -> [Action] {
    switch phase {
    case .checking(let both, let deadline, let datagrams):
      phase = .handshaking(both, deadline: deadline, datagrams)
      return [.usePath, .scheduleHandshake]
    case .handshaking, .associating, .up, .lingering: return [.usePath]
    default: return []
    }
  }

  /// `Action.scheduleHandshake` is due.
  mutating func startHandshake() -> Action? {
    guard case .handshaking(let both, let deadline, let datagrams?) = phase else { return nil }
    phase = .handshaking(both, deadline: deadline, nil)
    return .handshake(isClient: both.isClient, expecting: both.remote.fingerprint, received: datagrams.all)
  }

  /// A datagram came that is not ICE's own. Its bytes are copied if it is kept.
  mutating func received(_ datagram: UnsafeRawBufferPointer) -> Destination {
    // DTLS has the first bytes 20 to 63, RFC 7983.
    guard let first = datagram.first, (20...63).contains(first) else { return .none }
    switch phase {
    case .up, .lingering, .associating, .handshaking(_, _, nil): return .dtls
    case .gathering(let local, let early, var datagrams):
      datagrams.add(datagram)
      phase = .gathering(local, early, datagrams)
    case .checking(let both, let deadline, var datagrams):
      datagrams.add(datagram)
      phase = .checking(both, deadline: deadline, datagrams)
    case .handshaking(let both, let deadline, var datagrams?):
      datagrams.add(datagram)
      phase = .handshaking(both, deadline: deadline, datagrams)
    case .idle, .describing, .ended, .tornDown: break
    }
    return .none
  }

  /// DTLS has verified the peer.
  mutating func verified() -> Action? {
    guard case .handshaking(let both, let deadline, nil) = phase else { return nil }
    phase = .associating(both, deadline: deadline)
    return .associate(port: both.local.description.port, remotePort: both.remote.port)
  }

  /// The SCTP association is established.
  mutating func associated() -> Action? {
    guard case .associating(let both, _) = phase else { return nil }
    phase = .up(both)
    return .reportUp
  }

  /// ICE reports that every pair has failed, or that the peer's consent was lost. Before the connection is up this is
  /// not the end: the peer may still learn of our candidates and reach us. The deadline decides.
  mutating func pathFailed() -> Action? { sends ? end(.pathLost) : nil }
}

// MARK: - The end

extension ConnectionState {
  /// Our side closes it. `isSending`: something is queued, or not acknowledged yet.
  mutating func close(isSending: Bool, at now: Instant) -> [Action] {
    switch phase {
    case .up(let both) where isSending:
      let deadline = now.advanced(by: Limits.Transport.linger)
      phase = .lingering(both, deadline: deadline)
      return [.wake(at: deadline), .drain]
    case .lingering, .ended, .tornDown: return []
    default: return end(.closed).map { [$0] } ?? []
    }
  }

  /// Everything queued was sent and acknowledged.
  mutating func drained() -> Action? {
    guard case .lingering = phase else { return nil }
    return end(.closed)
  }

  /// The time of an `Action.wake` has come. Earlier and superfluous calls do no harm.
  mutating func timedOut(at now: Instant) -> Action? {
    let deadline: Instant
    let error: TransportError
    switch phase {
    case .idle(let early), .describing(_, let early):
      guard let offer = early.offer else { return nil }
      (deadline, error) = (offer.deadline, noPath)
    case .checking(_, let time, _): (deadline, error) = (time, noPath)
    case .handshaking(_, let time, _), .associating(_, let time): (deadline, error) = (time, .handshakeTimeout)
    case .lingering(_, let time): (deadline, error) = (time, .closed)
    default: return nil
    }
    return now < deadline ? .wake(at: deadline) : end(error)
  }

  /// It is over, for this reason: a layer failed, or the peer ended it. The first reason counts.
  mutating func end(_ error: TransportError) -> Action? {
    guard ended == nil else { return nil }
    phase = .ended(error)
    return .end(error)
  }

  /// The layers of an ended connection are gone.
  mutating func tearDown() {
    guard case .ended(let error) = phase else { return }
    phase = .tornDown(error)
  }

  /// No path was found; names what was tried.
  private var noPath: TransportError {
    func kinds(_ candidates: [Candidate]) -> String {
      let counts = Dictionary(grouping: candidates, by: \.kind).mapValues(\.count)
      let order: [(Candidate.Kind, String)] = [
        (.host, "local"), (.srflx, "reflexive"), (.prflx, "learned"), (.relay, "relayed"),
      ]
      let parts = order.compactMap { kind, name in counts[kind].map { "\($0) \(name)" } }
      return parts.isEmpty ? "no addresses" : parts.joined(separator: ", ")
    }
    let names = servers.map(\.description).joined(separator: ", ")
    return .noPath(
      tried: "\(kinds(localSide?.description.candidates ?? [])) here, "
        + "\(kinds(descriptions?.remote.candidates ?? [])) there; "
        + (servers.isEmpty ? "no STUN or TURN server" : "servers \(names)"))
  }
}

import P2PFSCore

// MARK: - Descriptions

extension ConnectionState {
  /// Our description is asked for.
  /// - Returns: it, with all candidates gathered so far; nil if it is to be made: `beginDescription` comes next.
  func localDescription() throws(TransportError) -> SessionDescription? {
    switch phase {
    case .idle(let early):
      guard role == .offerer || early.offer != nil else { throw .wrongState("an answer needs an offer") }
      return nil
    case .describing: throw .wrongState("the description is being made")
    case .ended(let error), .tornDown(let error): throw error
    default: return localSide?.description
    }
  }

  /// ICE has credentials; it gathers next. Only after `localDescription` has returned nil.
  mutating func beginDescription(fragment: String, password: String, fingerprint: Fingerprint) {
    guard case .idle(let early) = phase else { return }
    var description = SessionDescription(
      fragment: fragment, password: password, fingerprint: fingerprint, setup: early.offer?.ourSetup ?? .actpass)
    description.largestMessage = UInt64(Limits.Wire.message)
    if let offer = early.offer { description.mediaID = offer.description.mediaID }
    phase = .describing(LocalSide(description: description), early)
  }

  /// ICE has gathered the addresses of this computer.
  /// - Returns: the description to send.
  mutating func endDescription() throws(TransportError) -> (SessionDescription, [Action]) {
    guard case .describing(let local, let early) = phase else {
      throw ended ?? .wrongState("no description was begun")
    }
    var actions: [Action] = local.description.isComplete ? [.finishCandidates] : []
    if let offer = early.offer {
      actions += startChecks(local, offer, early, EarlyDatagrams())
    } else {
      phase = .gathering(local, early, EarlyDatagrams())
    }
    return (local.description, actions)
  }

  /// The peer's description is here: for an answerer before its own, for an offerer after it. Connecting has until
  /// `Limits.Transport.connecting` from now.
  mutating func setRemote(_ description: SessionDescription, at now: Instant) throws(TransportError) -> [Action] {
    switch phase {
    case .idle(var early) where early.offer == nil:
      guard role == .answerer else { throw .wrongState("an answer before the offer") }
      let offer = try RemoteDescription(description, from: .offerer, at: now)
      early.offer = offer
      phase = .idle(early)
      return [.wake(at: offer.deadline)]
    case .gathering(let local, let early, let datagrams):
      let answer = try RemoteDescription(description, from: .answerer, at: now)
      return [.wake(at: answer.deadline)] + startChecks(local, answer, early, datagrams)
    case .ended(let error), .tornDown(let error): throw error
    default: throw .wrongState("the peer's description is set")
    }
  }

  private mutating func startChecks(
    _ local: LocalSide, _ theirs: RemoteDescription, _ early: EarlyRemote, _ datagrams: EarlyDatagrams
  ) -> [Action] {
    var remote = theirs.description
    remote.candidates = Array((remote.candidates + early.candidates).prefix(Limits.Transport.candidates))
    remote.isComplete = remote.isComplete || early.isComplete
    phase = .checking(
      Descriptions(local: local, remote: remote, isClient: theirs.ourSetup == .active),
      deadline: theirs.deadline, datagrams)
    return [.startChecks(remote)]
  }
}

// MARK: - Candidates

extension ConnectionState {
  /// ICE has a candidate of ours. The peer takes only so many of a kind; further ones are dropped.
  mutating func gathered(_ candidate: Candidate) -> Action? {
    guard var local = localSide, local.count.admits(candidate.kind) else { return nil }
    local.count.add(candidate.kind)
    local.description.candidates.append(candidate)
    localSide = local
    if case .describing = phase { return nil }
    return .announce(candidate)
  }

  /// ICE has no more candidates of ours.
  mutating func gatheringDone() -> Action? {
    guard var local = localSide, !local.description.isComplete else { return nil }
    local.description.isComplete = true
    localSide = local
    if case .describing = phase { return nil }
    return .finishCandidates
  }

  /// The peer has another candidate. Those beyond `Limits.Transport.candidates` are dropped.
  mutating func addRemote(_ candidate: Candidate) -> Action? {
    if var early = earlyRemote {
      early.add(candidate)
      earlyRemote = early
      return nil
    }
    guard var both = descriptions, both.remote.candidates.count < Limits.Transport.candidates else { return nil }
    both.remote.candidates.append(candidate)
    descriptions = both
    return .check(candidate)
  }

  /// The peer has no more candidates.
  mutating func endOfRemoteCandidates() -> Action? {
    if var early = earlyRemote {
      early.isComplete = true
      earlyRemote = early
      return nil
    }
    guard var both = descriptions, !both.remote.isComplete else { return nil }
    both.remote.isComplete = true
    descriptions = both
    return .endRemoteCandidates
  }
}

// MARK: - Data of the states

extension ConnectionState {
  /// Our description, to which candidates are added as they are gathered.
  struct LocalSide {
    var description: SessionDescription
    var count = CandidateCount()
  }

  /// The peer's description, and what follows from it.
  struct RemoteDescription {
    let description: SessionDescription
    /// When the connection must be up.
    let deadline: Instant
    /// The DTLS role that is left for us: the answerer is the client unless the offer says otherwise (RFC 8842
    /// section 5).
    let ourSetup: SessionDescription.Setup

    /// - Parameter role: whose description it is.
    /// - Throws: `badDescription` if it asks for what we do not do.
    init(_ description: SessionDescription, from role: ConnectionRole, at now: Instant) throws(TransportError) {
      switch description.setup {
      case .active: ourSetup = .passive
      case .passive: ourSetup = .active
      case .actpass:
        guard role == .offerer else { throw .badDescription("the answer leaves the DTLS role open") }
        ourSetup = .active
      }
      guard description.largestMessage == 0 || description.largestMessage >= UInt64(Limits.Wire.data) else {
        throw .badDescription("takes messages of at most \(description.largestMessage) bytes")
      }
      self.description = description
      deadline = now.advanced(by: Limits.Transport.connecting)
    }
  }

  /// What came from the peer before ICE could take it.
  struct EarlyRemote {
    var offer: RemoteDescription?
    private(set) var candidates: [Candidate] = []
    var isComplete = false

    mutating func add(_ candidate: Candidate) {
      if candidates.count < Limits.Transport.candidates { candidates.append(candidate) }
    }
  }

  /// What both sides have said.
  struct Descriptions {
    var local: LocalSide
    var remote: SessionDescription
    let isClient: Bool
  }

  /// Datagrams that came before DTLS was started.
  struct EarlyDatagrams {
    private(set) var all: [[UInt8]] = []

    mutating func add(_ datagram: UnsafeRawBufferPointer) {
      if all.count < Limits.Transport.earlyDatagrams { all.append(Array(datagram)) }
    }
  }

  /// Our side, in the states that have one. Setting nil changes nothing.
  var localSide: LocalSide? {
    get {
      switch phase {
      case .describing(let local, _), .gathering(let local, _, _): local
      default: descriptions?.local
      }
    }
    set {
      guard let newValue else { return }
      switch phase {
      case .describing(_, let early): phase = .describing(newValue, early)
      case .gathering(_, let early, let datagrams): phase = .gathering(newValue, early, datagrams)
      default: descriptions?.local = newValue
      }
    }
  }

  /// Both sides, in the states that have them. Setting nil changes nothing.
  var descriptions: Descriptions? {
    get {
      switch phase {
      case .checking(let both, _, _), .handshaking(let both, _, _), .associating(let both, _), .up(let both),
        .lingering(let both, _):
        both
      default: nil
      }
    }
    set {
      guard let newValue else { return }
      switch phase {
      case .checking(_, let deadline, let datagrams): phase = .checking(newValue, deadline: deadline, datagrams)
      case .handshaking(_, let deadline, let datagrams): phase = .handshaking(newValue, deadline: deadline, datagrams)
      case .associating(_, let deadline): phase = .associating(newValue, deadline: deadline)
      case .up: phase = .up(newValue)
      case .lingering(_, let deadline): phase = .lingering(newValue, deadline: deadline)
      default: break
      }
    }
  }

  /// What came from the peer, in the states that keep it. Setting nil changes nothing.
  private var earlyRemote: EarlyRemote? {
    get {
      switch phase {
      case .idle(let early), .describing(_, let early), .gathering(_, let early, _): early
      default: nil
      }
    }
    set {
      guard let newValue else { return }
      switch phase {
      case .idle: phase = .idle(newValue)
      case .describing(let local, _): phase = .describing(local, newValue)
      case .gathering(let local, _, let datagrams): phase = .gathering(local, newValue, datagrams)
      default: break
      }
    }
  }
}

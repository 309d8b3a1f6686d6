import P2PFSMeeting
import P2PFSCore
import P2PFSPairing
import P2PFSSession
import Synchronization
import P2PFSWire

/// The guests of a `Host`, as its `HostedRoom` tells of them. From any thread.
final class Guests: Sendable {
  private struct State {
    var isReady = false
    var failure: PeerError?
    var starting: [@Sendable () -> Void] = []
    var inboxes: [ObjectIdentifier: Inbox] = [:]
    var peers: [ObjectIdentifier: Peer] = [:]
    var isLeaving = false
  }

  /// Those who have come. Whom the program does not hear of in time is served all the same.
  let arrivals = Queue<Peer>(limit: Limits.Library.guests)
  /// The code that guests need, with the server.
  let code = ObservedValue("")
  /// Whether guests can come, and what else happens.
  let events = ObservedValue(Host.Event.reachable)
  private let server: ServerAddress
  private let state = Mutex(State())

  /// No guests yet. `server` is how they find the host.
  init(server: ServerAddress) { self.server = server }

  /// The channels that a guest opens. They may come before the guest itself is told of.
  func inbox(of session: Session) -> Inbox {
    let key = ObjectIdentifier(session)
    let (inbox, isNew) = state.withLock { state -> (Inbox, Bool) in
      if let inbox = state.inboxes[key] { return (inbox, false) }
      let inbox = Inbox()
      state.inboxes[key] = inbox
      return (inbox, true)
    }
    if isNew {
      session.observe { [weak self] state in if state == .over { self?.forget(key) } }
      if session.status == .over { forget(key) }
    }
    return inbox
  }

  /// What the host reports.
  func heard(_ event: HostedRoom.Event) {
    switch event {
    case .ready(let code, _):
      self.code.change(to: "\(code.text)@\(server.inCode)")
      events.change(to: .reachable)
      let starting = state.withLock { state in
        state.isReady = true
        defer { state.starting = [] }
        return state.starting
      }
      for call in starting { call() }
    case .arrived(let session, let path):
      let peer = Peer(session, path, inbox(of: session)) { await session.leave() }
      let isTaken = state.withLock { state in
        guard !state.isLeaving, session.status != .over else { return false }
        state.peers[ObjectIdentifier(session)] = peer
        return true
      }
      if isTaken { announce(peer) }
      // It may have left meanwhile.
      if session.status == .over { forget(ObjectIdentifier(session)) }
    case .wrongCode(let left): events.tell(.wrongCode(triesLeft: left))
    case .codePaused(let seconds):
      events.change(
        to: .unreachable("others go on trying wrong codes; a new one is made in \(Int(seconds / 60)) minutes"))
    case .signalingLost(let why), .signalingAwaited(let why): events.change(to: .unreachable(why.escaped))
    case .signalingBack: events.change(to: .reachable)
    case .codeSpent, .away, .back, .left: break
    }
  }

  /// Tells the program of a guest once both have greeted, so that all of it can be asked.
  private func announce(_ peer: Peer) {
    let isTold = OneShot()
    // Weakly: the session holds its observers.
    peer.session.observe { [weak peer, arrivals] state in
      if state == .online, isTold.fire(), let peer { arrivals.put(peer) }
    }
    if peer.session.isOnline, isTold.fire() { arrivals.put(peer) }
  }

  /// Waiting could not begin, or is over.
  func failed(_ error: PeerError) {
    let starting = state.withLock { state in
      state.failure = error
      defer { state.starting = [] }
      return state.starting
    }
    for call in starting { call() }
  }

  /// Returns when guests can come. If the task is cancelled it says so, at the latest when the server has answered.
  func waitUntilReady() async throws(PeerError) {
    await withCheckedContinuation { continuation in
      let isNow = state.withLock { state in
        if state.isReady || state.failure != nil { return true }
        state.starting.append { continuation.resume() }
        return false
      }
      if isNow { continuation.resume() }
    }
    if Task.isCancelled { throw .cancelled }
    if let failure = state.withLock({ $0.isReady ? nil : $0.failure }) { throw failure }
  }

  private func forget(_ key: ObjectIdentifier) {
    // Released outside of the lock.
    let gone = state.withLock { ($0.peers.removeValue(forKey: key), $0.inboxes.removeValue(forKey: key)) }
    withExtendedLifetime(gone) {}
  }

  /// No further guests. Returns those that are there.
  func leave() -> [Peer] {
    state.withLock { state in
      state.isLeaving = true
      return Array(state.peers.values)
    }
  }

  /// All is over.
  func finish() {
    arrivals.finish()
    code.finish()
    events.finish()
    let gone = state.withLock { state in
      defer { (state.peers, state.inboxes) = ([:], [:]) }
      return (state.peers, state.inboxes)
    }
    withExtendedLifetime(gone) {}
  }
}

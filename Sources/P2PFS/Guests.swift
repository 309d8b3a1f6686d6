import Core
import Pairing
import Session
import Synchronization
import Wire

/// The guests of a `Host`, as its `HostPeer` tells of them. From any thread.
final class Guests: Sendable {
  private struct State {
    var code = ""
    var isReady = false
    var failure: PeerError?
    var starting: [@Sendable () -> Void] = []
    var inboxes: [ObjectIdentifier: Inbox] = [:]
    var peers: [ObjectIdentifier: Peer] = [:]
    var isLeaving = false
  }

  /// Those who have come.
  let arrivals: AsyncStream<Peer>
  private let feed: AsyncStream<Peer>.Continuation
  /// The code, each time that it changes.
  let codes: AsyncStream<String>
  private let codeFeed: AsyncStream<String>.Continuation
  private let server: ServerAddress
  private let state = Mutex(State())

  /// No guests yet. `server` is how they find the host.
  init(server: ServerAddress) {
    self.server = server
    // Whom the program does not hear of in time is served all the same.
    (arrivals, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Limits.Library.guests))
    (codes, codeFeed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// The code that guests need now, with the server.
  var code: String { state.withLock { $0.code } }

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
  func heard(_ event: HostPeer.Event) {
    switch event {
    case .ready(let code, _):
      let text = "\(code.text)@\(server.inCode)"
      let starting = state.withLock { state in
        state.code = text
        state.isReady = true
        defer { state.starting = [] }
        return state.starting
      }
      codeFeed.yield(text)
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
    case .wrongCode, .codeSpent, .away, .back, .left, .signalingLost, .signalingBack: break
    }
  }

  /// Tells the program of a guest once both have greeted, so that all of it can be asked.
  private func announce(_ peer: Peer) {
    let isTold = Once()
    // Weakly: the session holds its observers.
    peer.session.observe { [weak peer, feed] state in
      if state == .online, isTold.first(), let peer { feed.yield(peer) }
    }
    if peer.session.isOnline, isTold.first() { feed.yield(peer) }
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
    feed.finish()
    codeFeed.finish()
    let gone = state.withLock { state in
      defer { (state.peers, state.inboxes) = ([:], [:]) }
      return (state.peers, state.inboxes)
    }
    withExtendedLifetime(gone) {}
  }
}

/// Lets one of several through.
private final class Once: Sendable {
  private let isDone = Atomic<Bool>(false)
  /// Whether this call is the first.
  func first() -> Bool { !isDone.exchange(true, ordering: .relaxed) }
}

import P2PFSCore
import Synchronization
import P2PFSWire

/// Recovery of a peer whose program was started again, before any other request is sent.
extension Session {
  @discardableResult
  package func onRestart(_ handler: @escaping @Sendable (PeerRestart) -> [RecoveryRequest]) -> UInt64 {
    state.withLock { state in
      state.lastRecoverer += 1
      state.recoverers.append((state.lastRecoverer, handler))
      return state.lastRecoverer
    }
  }

  package func forgetRestart(_ number: UInt64) {
    state.withLock { state in state.recoverers.removeAll { $0.number == number } }
  }

  /// The peer has greeted on `link` after a restart: begins the recovery, and sends the waiting requests after it. On
  /// the link's thread.
  func recover(on link: any Link) {
    let (restart, recoverers) = state.withLock { ($0.phase.link === link ? $0.phase.restart : nil, $0.recoverers) }
    if let restart {
      // Without our lock: the handlers take locks of their own.
      let requests = recoverers.flatMap { $0.body(restart) }
      state.withLock { state in
        guard state.phase.link === link else { return }
        state.recovery.begin(requests, requests: Int(clamping: state.phase.peer?.requests ?? 0))
      }
    }
    goOn(on: link)
  }

  /// Takes a reply for the recovery.
  /// - Returns: false if it belongs to another request.
  func completeRecovery(_ header: Header, _ frame: Frame, from link: any Link) -> Bool {
    let completion = state.withLock { state in
      state.phase.link === link && state.phase.restart != nil ? state.recovery.completion(for: header) : nil
    }
    guard let completion else { return false }
    completion(Reply(header, in: frame))
    goOn(on: link)
    return true
  }

  /// Sends further requests of the recovery; when all of them are answered, those that wait.
  private func goOn(on link: any Link) {
    let announcements = state.withLock { state -> [@Sendable () -> Void]? in
      guard state.phase.link === link, state.phase.restart != nil else { return nil }
      while let frame = state.recovery.next() { link.send(frame, on: .control) }
      guard state.recovery.isDone else { return nil }
      state.phase.recovered()
      resend(on: link, &state)
      return state.announce()
    }
    guard let announcements else { return }
    carryChannels(by: link)
    ping(link)
    for announcement in announcements { announcement() }
  }

  /// Sends what waits and what has no answer, in one step with the change of state to online, so that no request slips
  /// between what is sent again and what is new. Under the lock.
  func resend(on link: any Link, _ state: inout State) {
    for (frame, lane) in state.pending.sent() { link.send(frame, on: lane) }
    for next in state.pending.promote() { link.send(next.frame, on: next.lane) }
  }
}

import P2PFSCore
package import Logging
import NIOCore
import NIOPosix
package import P2PFSSession
import Synchronization
import P2PFSWire

/// The host's side of forwarding: connects and listens for guests, as far as its policy allows.
///
/// Thread-safe; never blocks. A request that is not allowed causes no lookup, no connection and no socket.
package final class ForwardHost: Sendable {
  private let policy: ForwardPolicy
  private let log: Logger
  /// The guests whose sessions are not over.
  private let guests = Mutex<[ObjectIdentifier: NIOLoopBound<HostedGuest>]>([:])

  /// Forwards for guests as `policy` allows.
  package init(_ policy: ForwardPolicy, log: Logger = Logger(label: "p2pfs.forward")) {
    self.policy = policy
    self.log = log
  }

  /// Accepts a channel that a guest has opened, if it is for forwarding. For `HostedRoom`'s `onChannel`.
  /// - Returns: false if the channel is for something else and was not touched.
  @discardableResult
  package func accept(_ channel: SessionChannel, of session: Session) -> Bool {
    guard channel.name.hasPrefix("forward:") else { return false }
    guard let name = ForwardName(parsing: channel.name) else {
      channel.reset(.refused, "not understood")
      return true
    }
    switch name {
    case .check(let target):
      // The guest closes the channel. Its data is never consumed.
      if policy.allows(connectingTo: target) { channel.accept() } else { refuse(channel, "not allowed") }
    case .connect(let target):
      guard policy.allows(connectingTo: target) else {
        refuse(channel, "not allowed")
        break
      }
      onLoop(session) { $0.peer.connect(channel, to: target) }
    case .listen(let number, let endpoint):
      guard policy.allows(listeningAt: endpoint) else {
        refuse(channel, "not allowed")
        break
      }
      onLoop(session) { $0.listen(number, endpoint, channel) }
    case .accepted: refuse(channel, "that is for the other side to open")
    }
    return true
  }

  /// Stops listening for all guests; their connections end with their sessions.
  package func end() async {
    let guests = guests.withLock { guests in
      defer { guests = [:] }
      return Array(guests.values)
    }
    try? await ForwardLoop.loop.submit { for guest in guests { guest.value.end() } }.get()
  }

  /// Another guest that listens on `endpoint`. On the loop.
  func holder(of endpoint: Endpoint, besides guest: HostedGuest) -> HostedGuest? {
    let guests = guests.withLock { Array($0.values) }
    return guests.map(\.value).first { $0 !== guest && $0.holds(endpoint) }
  }

  private func refuse(_ channel: SessionChannel, _ why: String) {
    log.info("refused the other computer \(channel.name): \(why)")
    channel.reset(.refused, why)
  }

  /// Runs `body` on the loop with the guest of a session, which is created if it is new.
  private func onLoop(_ session: Session, _ body: @escaping @Sendable (HostedGuest) -> Void) {
    ForwardLoop.loop.execute { [self] in
      let key = ObjectIdentifier(session)
      let known = guests.withLock { $0[key] }
      if let known { return body(known.value) }
      guard session.status != .over else { return }
      let guest = HostedGuest(session, self, log)
      let bound = NIOLoopBound(guest, eventLoop: ForwardLoop.loop)
      guests.withLock { $0[key] = bound }
      session.observe { [weak self] state in
        guard state == .over, let gone = self?.guests.withLock({ $0.removeValue(forKey: key) }) else { return }
        ForwardLoop.loop.execute { gone.value.end() }
      }
      // The session may have ended before it was observed.
      if session.status == .over {
        _ = guests.withLock { $0.removeValue(forKey: key) }
        return
      }
      body(guest)
    }
  }
}

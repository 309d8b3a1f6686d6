import Core
package import Logging
import NIOCore
import NIOPosix
package import Session
import Synchronization
import Wire

/// The side that was asked to forward: makes the connections that guests ask for, and listens for them, as far as its
/// policy allows.
///
/// Thread-safe; never blocks. What is not allowed leads to nothing: no lookup, no connection, no socket.
package final class ForwardHost: Sendable {
  private let policy: ForwardPolicy
  private let log: Logger
  /// Those of sessions that are not over.
  private let guests = Mutex<[ObjectIdentifier: NIOLoopBound<ForwardGuestOfHost>]>([:])

  /// Forwards what `policy` allows.
  package init(_ policy: ForwardPolicy, log: Logger = Logger(label: "p2pfs.forward")) {
    self.policy = policy
    self.log = log
  }

  /// Takes a channel that a guest has opened, if it is for forwarding. To be given to `HostPeer` as `onChannel`.
  /// - Returns: false if it is for something else; nothing was done with it then.
  @discardableResult
  package func accept(_ channel: PeerChannel, of session: Session) -> Bool {
    guard channel.name.hasPrefix("forward:") else { return false }
    guard let name = ForwardName(parsing: channel.name) else {
      channel.reset(.refused, "not understood")
      return true
    }
    switch name {
    case .check(let target):
      // It is over when the guest closes it. What it says on it is never taken.
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

  /// Stops listening for all guests; what they have open ends with their sessions.
  package func end() async {
    let guests = guests.withLock { guests in
      defer { guests = [:] }
      return Array(guests.values)
    }
    try? await ForwardLoop.loop.submit { for guest in guests { guest.value.end() } }.get()
  }

  private func refuse(_ channel: PeerChannel, _ why: String) {
    log.info("refused the other computer \(channel.name): \(why)")
    channel.reset(.refused, why)
  }

  /// Runs `body` on the loop with what belongs to a session, which is made if it is new.
  private func onLoop(_ session: Session, _ body: @escaping @Sendable (ForwardGuestOfHost) -> Void) {
    ForwardLoop.loop.execute { [self] in
      let key = ObjectIdentifier(session)
      let known = guests.withLock { $0[key] }
      if let known { return body(known.value) }
      guard session.status != .over else { return }
      let guest = ForwardGuestOfHost(session, log)
      let bound = NIOLoopBound(guest, eventLoop: ForwardLoop.loop)
      guests.withLock { $0[key] = bound }
      session.observe { [weak self] state in
        guard state == .over, let gone = self?.guests.withLock({ $0.removeValue(forKey: key) }) else { return }
        ForwardLoop.loop.execute { gone.value.end() }
      }
      // It may have ended before it was observed.
      if session.status == .over {
        _ = guests.withLock { $0.removeValue(forKey: key) }
        return
      }
      body(guest)
    }
  }
}

/// What one guest has asked the host for. The loop's.
final class ForwardGuestOfHost {
  /// A listener that the guest has asked for; it lives as long as the channel by which it did.
  private struct Listener {
    let channel: PeerChannel
    var sockets: [SocketListener] = []
  }

  let peer: ForwardedPeer
  private weak let session: Session?
  private let log: Logger
  private var listeners: [UInt8: Listener] = [:]
  private var isOver = false

  init(_ session: Session, _ log: Logger) {
    self.session = session
    self.log = log
    peer = ForwardedPeer(log)
  }

  /// Stops listening.
  func end() {
    isOver = true
    for number in Array(listeners.keys) { close(number) }
  }

  /// Listens as long as `channel` lives.
  func listen(_ number: UInt8, _ endpoint: Endpoint, _ channel: PeerChannel) {
    // A guest that lost its connection may ask again before this side has given up what it asked first.
    close(number)
    guard !isOver, listeners.count < Limits.Forward.listeners else {
      return channel.reset(.refused, "more than \(Limits.Forward.listeners) listeners")
    }
    listeners[number] = Listener(channel: channel)
    let guest = NIOLoopBound(self, eventLoop: ForwardLoop.loop)
    channel.whenOver {
      ForwardLoop.loop.execute { guest.value.ended(number, channel) }
    }
    let binding = ForwardLoop.threads.runIfActive(eventLoop: ForwardLoop.loop) { try BoundSocket.bind(endpoint) }
    binding.flatMap { sockets in
      SocketListener.start(sockets, slots: { guest.value.peer.accepted }) { connection in
        guard let session = guest.value.session else { throw PeerChannelError.peerGone }
        try guest.value.peer.accept(connection, for: .accepted(number), on: session)
      }
    }.whenComplete { result in
      guest.value.listens(number, endpoint, channel, result)
    }
  }

  private func listens(
    _ number: UInt8, _ endpoint: Endpoint, _ channel: PeerChannel, _ result: Result<[SocketListener], any Error>
  ) {
    switch result {
    case .success(let sockets):
      // It may have ended meanwhile.
      guard listeners[number]?.channel === channel else { return sockets.forEach { $0.close() } }
      listeners[number]?.sockets = sockets
      log.info("listening on \(endpoint.text) for the other computer")
      channel.accept()
      let answer = PeerChannel.piece(capacity: 2)
      answer.write(sockets.first?.port ?? 0)
      // The first window has room for it.
      _ = try? channel.send(answer)
    case .failure(let error):
      let reason = (error as? BoundSocket.Failure)?.reason ?? Connector.reason(error)
      log.info("cannot listen on \(endpoint.text) for the other computer: \(reason)")
      channel.reset(.failed, reason)
    }
  }

  private func ended(_ number: UInt8, _ channel: PeerChannel) {
    if listeners[number]?.channel === channel { close(number) }
  }

  private func close(_ number: UInt8) {
    guard let listener = listeners.removeValue(forKey: number) else { return }
    for socket in listener.sockets { socket.close() }
    listener.channel.reset(.cancelled)
  }
}

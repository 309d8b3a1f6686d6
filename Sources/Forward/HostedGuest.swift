import P2PFSCore
import Glibc
import Logging
import NIOCore
import NIOPosix
import P2PFSSession
import P2PFSWire

/// The listeners and connections of one guest at the host. Used on the loop only.
final class HostedGuest {
  /// A listener that the guest has requested; it is open as long as its channel.
  private struct Listener {
    let channel: SessionChannel
    let endpoint: Endpoint
    var sockets: [SocketListener] = []
  }

  let peer: ForwardedPeer
  private weak let session: Session?
  private weak let host: ForwardHost?
  private let log: Logger
  private var listeners: [UInt8: Listener] = [:]
  private var isOver = false

  init(_ session: Session, _ host: ForwardHost, _ log: Logger) {
    self.session = session
    self.host = host
    self.log = log
    peer = ForwardedPeer(log)
  }

  /// Stops listening.
  func end() {
    isOver = true
    for number in Array(listeners.keys) { close(number) }
  }

  /// Listens as long as `channel` is open.
  func listen(_ number: UInt8, _ endpoint: Endpoint, _ channel: SessionChannel) {
    // A guest that lost its connection may ask again before this side has closed the first listener.
    close(number)
    guard !isOver, listeners.count < Limits.Forward.listeners else {
      return channel.reset(.refused, "more than \(Limits.Forward.listeners) listeners")
    }
    listeners[number] = Listener(channel: channel, endpoint: endpoint)
    let guest = NIOLoopBound(self, eventLoop: ForwardLoop.loop)
    channel.whenOver {
      ForwardLoop.loop.execute { guest.value.ended(number, channel) }
    }
    open(number, endpoint, channel, until: .now() + .milliseconds(Int64(Limits.Forward.takeover * 1000)))
  }

  /// Whether the guest listens there.
  func holds(_ endpoint: Endpoint) -> Bool {
    listeners.values.contains { $0.endpoint == endpoint && !$0.sockets.isEmpty }
  }

  /// Stops listening there in favor of another guest, unless this one is connected.
  /// - Returns: false if it is connected.
  func yields(_ endpoint: Endpoint) -> Bool {
    if let session, session.isOnline || session.isBeingGreeted { return false }
    for (number, listener) in listeners where listener.endpoint == endpoint { close(number) }
    return true
  }

  private func open(_ number: UInt8, _ endpoint: Endpoint, _ channel: SessionChannel, until deadline: NIODeadline) {
    let guest = NIOLoopBound(self, eventLoop: ForwardLoop.loop)
    let listening = NameLookup.onThread(if: { channel.failure == nil }) { try ListeningSocket.listen(at: endpoint) }
    listening.flatMap { sockets in
      SocketListener.start(sockets, slots: { guest.value.peer.accepted }) { connection, isTCP in
        guard let session = guest.value.session else { throw SessionChannelError.peerGone }
        try guest.value.peer.accept(connection, isTCP: isTCP, for: .accepted(number), on: session)
      }
    }.whenComplete { result in
      guest.value.opened(number, endpoint, channel, until: deadline, result)
    }
  }

  private func opened(
    _ number: UInt8, _ endpoint: Endpoint, _ channel: SessionChannel, until deadline: NIODeadline,
    _ result: Result<[SocketListener], any Error>
  ) {
    // The channel may have ended meanwhile.
    guard listeners[number]?.channel === channel else {
      if case .success(let sockets) = result { for socket in sockets { socket.close() } }
      return
    }
    switch result {
    case .success(let sockets):
      listeners[number]?.sockets = sockets
      log.info("listening on \(endpoint.text) for the other computer")
      channel.accept()
      let answer = SessionChannel.piece(capacity: 2)
      answer.write(sockets.first?.port ?? 0)
      // The first window has room for it.
      _ = try? channel.send(answer)
    case .failure(let error):
      let failure = error as? ListeningSocket.Failure
      var reason = failure?.reason ?? Connector.reason(error)
      // A guest that was killed returns as another guest before this side knows that the first is gone.
      if failure?.number == EADDRINUSE, let holder = host?.holder(of: endpoint, besides: self) {
        if holder.yields(endpoint) {
          log.info("a guest that is away gives up \(endpoint.text) for another one")
          return open(number, endpoint, channel, until: deadline)
        }
        if NIODeadline.now() < deadline {
          let pause = TimeAmount.milliseconds(Int64(Limits.Forward.takeoverPause * 1000))
          ForwardLoop.loop.assumeIsolated().scheduleTask(in: pause) {
            self.open(number, endpoint, channel, until: deadline)
          }
          return
        }
        reason = "another guest listens there"
      }
      log.info("cannot listen on \(endpoint.text) for the other computer: \(reason)")
      channel.reset(.failed, reason)
    }
  }

  private func ended(_ number: UInt8, _ channel: SessionChannel) {
    if listeners[number]?.channel === channel { close(number) }
  }

  private func close(_ number: UInt8) {
    guard let listener = listeners.removeValue(forKey: number) else { return }
    for socket in listener.sockets { socket.close() }
    listener.channel.reset(.cancelled)
  }
}

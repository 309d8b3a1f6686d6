import Core
import Logging
import NIOCore
import NIOPosix
import Session
import Wire

/// What one guest has asked the host for. The loop's.
final class HostedGuest {
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
    let binding = ForwardLoop.threads.runIfActive(eventLoop: ForwardLoop.loop) { try ListeningSocket.listen(at: endpoint) }
    binding.flatMap { sockets in
      SocketListener.start(sockets, slots: { guest.value.peer.accepted }) { connection, isTCP in
        guard let session = guest.value.session else { throw PeerChannelError.peerGone }
        try guest.value.peer.accept(connection, isTCP: isTCP, for: .accepted(number), on: session)
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
      let reason = (error as? ListeningSocket.Failure)?.reason ?? Connector.reason(error)
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

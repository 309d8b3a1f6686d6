import P2PFSCore
import Logging
import NIOCore
import P2PFSSession
import P2PFSWire

/// The forwarded connections with one peer, in both directions. Used on the loop only.
final class ForwardedPeer {
  /// Connections to listeners of this side, for which it opens channels.
  let accepted: ConnectionSlots
  /// Connections that the peer has requested.
  private let made: ConnectionSlots
  private let log: Logger

  init(_ log: Logger) {
    accepted = ConnectionSlots(Limits.Forward.connections, log)
    made = ConnectionSlots(Limits.Forward.accepted, log)
    self.log = log
  }

  /// Connects a channel of the peer to an allowed destination.
  func connect(_ channel: SessionChannel, to target: Endpoint) {
    guard made.isFree else {
      log.info("refused the other computer a connection to \(target.text): it has \(made.used)")
      return channel.reset(.refused, "too many connections at once")
    }
    let isWide = made.used < Limits.Forward.wide
    made.take()
    let connecting = Connector.connect(to: target, isWide: isWide) { channel.failure == nil }
    connecting.assumeIsolated().whenComplete { [self] result in
      do {
        let socket = try result.get()
        let coupling = ForwardedConnection(channel, isTCP: target.isTCP) { [self] _ in made.release() }
        do {
          try socket.pipeline.syncOperations.addHandler(coupling)
        } catch {
          socket.close(promise: nil)
          throw error
        }
        channel.accept()
      } catch {
        let reason = Connector.reason(error)
        log.info("cannot connect to \(target.text) for the other computer: \(reason)")
        channel.reset(.failed, "\(target.text): \(reason)")
        made.release()
      }
    }
  }

  /// Opens a channel of this name for a connection to a listener.
  /// - Throws: `SessionChannelError` if there can be none now.
  func accept(_ socket: any NIOCore.Channel, isTCP: Bool, for name: ForwardName, on session: Session) throws {
    if isTCP, accepted.used >= Limits.Forward.wide { try SocketOptions.fixReceiveBuffer(socket) }
    let channel = try session.openChannel(name.text)
    accepted.take()
    let coupling = ForwardedConnection(channel, isTCP: isTCP) { [self] hasFailed in
      if let failure = channel.failure { log.info("a connection for \(name.text) ended early: \(failure)") }
      guard hasFailed else { return accepted.release() }
      ForwardLoop.loop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(Limits.Forward.rest * 1000))) { [self] in
        accepted.release()
      }
    }
    do { try socket.pipeline.syncOperations.addHandler(coupling) } catch {
      channel.reset(.cancelled)
      accepted.release()
      throw error
    }
  }
}

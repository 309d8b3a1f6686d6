import P2PFSCore
import NIOCore
import Synchronization

/// What a guest of a room hears.
package enum GuestEvent: Sendable, Equatable {
  /// A host has come, or has come back by another connection: what was said to it before may be lost, so a
  /// handshake begins again.
  case hostArrived
  /// The host's connection is gone. It may come back.
  case hostLeft
  /// What the host has sent: at most `Limits.Signaling.message` bytes of unknown origin.
  case message([UInt8])
}

/// A guest of a room at its server. The last reference going closes it.
package final class GuestConnection: Sendable {
  /// The STUN and TURN servers that the server recommends. TURN servers come with credentials for the meeting that
  /// begins: it is to be asked for when that does. From any thread.
  package var iceServers: [IceServer] {
    Array((servers + relays.withLock { $0 }).prefix(Limits.Signaling.iceServers))
  }
  /// Whether the host was there at the welcome; only one that waits ever sees false.
  package let isHostThere: Bool
  /// What happens, in order. Ends with the connection; `closeReason` then says why. For one reader.
  package let events: AsyncStream<GuestEvent>
  private let socket: ClientSocket
  private let servers: [IceServer]
  private let relays: Mutex<[IceServer]>

  init(_ socket: ClientSocket, isHostThere: Bool, _ servers: [IceServer]) {
    self.socket = socket
    self.isHostThere = isHostThere
    self.servers = servers.filter { $0.kind != .turn && $0.kind != .turns }
    relays = Mutex(servers.filter { $0.kind == .turn || $0.kind == .turns })
    let (stream, continuation) = AsyncStream.makeStream(
      of: GuestEvent.self, bufferingPolicy: .bufferingOldest(Limits.Signaling.events))
    events = stream
    socket.attach(
      { [weak self] message in
        let event: GuestEvent
        switch message {
        case .hostArrived: event = .hostArrived
        case .hostLeft: event = .hostLeft
        case .plain(let payload): event = .message(Array(payload.readableBytesView))
        case .relays(let servers):
          self?.relays.withLock { $0 = servers }
          return true
        default: return true
        }
        if case .dropped = continuation.yield(event) { return false }
        return true
      }, finished: { continuation.finish() })
  }

  deinit { socket.close() }

  /// Why the connection has ended: nil while it stands, and after `close`. From any thread.
  package var closeReason: SignalingError? { socket.closeReason }

  /// Sends `payload`, at most `Limits.Signaling.message - Limits.Signaling.framing` bytes, to the host. From any
  /// thread, in order. What is sent while there is no host, or after the end, is lost.
  package func send(_ payload: [UInt8]) {
    precondition(payload.count <= Limits.Signaling.message - Limits.Signaling.framing)
    socket.send(.plain(ByteBuffer(bytes: payload)))
  }

  /// Leaves the room. From any thread.
  package func close() { socket.close() }
}

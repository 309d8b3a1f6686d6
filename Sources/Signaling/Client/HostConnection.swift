import P2PFSCore
import NIOCore
import Synchronization

/// What the host of a room hears.
package enum HostEvent: Sendable, Equatable {
  /// A guest has come in.
  case joined(GuestID)
  /// A guest has gone, or its connection broke.
  case left(GuestID)
  /// What a guest has sent: at most `Limits.Signaling.message` bytes of unknown origin.
  case message(GuestID, [UInt8])
}

/// A room's host at its server. Leaving it for good is `close`; the last reference going does the same.
package final class HostConnection: Sendable {
  /// The STUN and TURN servers that the server recommends. TURN servers come with credentials for the meeting that
  /// begins: it is to be asked for when that does. From any thread.
  package var iceServers: [IceServer] {
    Array((servers + relays.withLock { $0 }).prefix(Limits.Signaling.iceServers))
  }
  /// What happens, in order. Ends with the connection; `closeReason` then says why. For one reader.
  package let events: AsyncStream<HostEvent>
  private let socket: ClientSocket
  private let servers: [IceServer]
  private let relays: Mutex<[IceServer]>

  init(_ socket: ClientSocket, _ servers: [IceServer]) {
    self.socket = socket
    self.servers = servers.filter { $0.kind != .turn && $0.kind != .turns }
    relays = Mutex(servers.filter { $0.kind == .turn || $0.kind == .turns })
    let (stream, continuation) = AsyncStream.makeStream(
      of: HostEvent.self, bufferingPolicy: .bufferingOldest(Limits.Signaling.events))
    events = stream
    socket.attach(
      { [weak self] message in
        let event: HostEvent
        switch message {
        case .guestJoined(let guest): event = .joined(guest)
        case .guestLeft(let guest): event = .left(guest)
        case .fromOrToGuest(let guest, let payload): event = .message(guest, Array(payload.readableBytesView))
        case .relays(let servers):
          self?.relays.withLock { $0 = servers }
          return true
        default: return true
        }
        guard case .dropped = continuation.yield(event) else { return true }
        // Guests flood; whose message finds no room any more is turned away, and this side goes on.
        guard case .message(let guest, _) = event else { return false }
        socket.send(.guestLeft(guest))
        return true
      }, finished: { continuation.finish() })
  }

  deinit { socket.close() }

  /// Why the connection has ended: nil while it stands, and after `close`. From any thread.
  package var closeReason: SignalingError? { socket.closeReason }

  /// Sends `payload`, at most `Limits.Signaling.message - Limits.Signaling.framing` bytes, to a guest. From any
  /// thread, in order. What is sent to a guest that is gone, or after the end, is lost.
  package func send(_ payload: [UInt8], to guest: GuestID) {
    precondition(payload.count <= Limits.Signaling.message - Limits.Signaling.framing)
    socket.send(.fromOrToGuest(guest, ByteBuffer(bytes: payload)))
  }

  /// Has the server hang up on a guest. From any thread.
  package func dismiss(_ guest: GuestID) { socket.send(.guestLeft(guest)) }

  /// Finds out at once whether the server is still reached, as when the network has changed; ends if it is not. From any
  /// thread.
  package func probe() { socket.probe() }

  /// Gives the room up. From any thread.
  package func close() { socket.close() }

  /// Hangs up without a word, as a broken network would: the room stays reserved for the token.
  package func abandon() { socket.abort(.closed("by this side")) }
}

package import P2PFSSession
package import P2PFSCore
import Synchronization
package import P2PFSTransport

/// A link over two data channels of one peer connection.
///
/// The peer that made the offer opens both, `p2pfs` for requests and `p2pfs-bulk` for file contents; the other
/// takes them from what comes in. Channels beside these carry the protocol `p2pfs-channel` (RFC 8832) and any label.
package final class DataChannelLink: Link {
  static func label(of lane: Lane) -> String {
    switch lane {
    case .control: "p2pfs"
    case .bulk: "p2pfs-bulk"
    }
  }

  private static let channelProtocol = "p2pfs-channel"

  private let connection: PeerConnection
  private let control: DataChannel
  private let bulk: DataChannel
  /// Set when the loss was told, or is not to be told any more.
  private let isOver = Atomic<Bool>(false)
  /// The receiver; until it is known, the channels keep what arrives.
  private let receiver = Mutex<(any LinkReceiver)?>(nil)

  init(_ connection: PeerConnection, control: DataChannel, bulk: DataChannel) {
    self.connection = connection
    self.control = control
    self.bulk = bulk
  }

  /// Opens the channels on a connection that is up: the side of the offer.
  static func open(on connection: PeerConnection) async throws(TransportError) -> DataChannelLink {
    let control = try await connection.openChannel(label: label(of: .control))
    let bulk = try await connection.openChannel(label: label(of: .bulk))
    return DataChannelLink(connection, control: control, bulk: bulk)
  }

  /// Waits for the channels that the other side opens. It opens others only when it was greeted on these.
  /// - Returns: nil if the connection ends before both are there.
  static func accept(on connection: PeerConnection) async -> DataChannelLink? {
    var control: DataChannel?
    var bulk: DataChannel?
    for await channel in connection.incomingChannels {
      switch channel.label {
      case label(of: .control) where control == nil: control = channel
      case label(of: .bulk) where bulk == nil: bulk = channel
      default: channel.close()
      }
      if let control, let bulk { return DataChannelLink(connection, control: control, bulk: bulk) }
    }
    return nil
  }

  /// How the peer is reached; nil when the connection is gone.
  package func path() async -> ConnectionPath? { await connection.path }

  /// Lets the peer have `bytes` here that came out of order or in parts; no less than before.
  package func grant(receiveBuffer bytes: Int) async { await connection.grant(receiveBuffer: bytes) }

  package func send(_ frame: Frame, on lane: Lane) {
    (lane == .control ? control : bulk).send(frame)
  }

  package var backlog: Int { control.queuedBytes + bulk.queuedBytes }

  package var lastHeard: Instant { connection.lastHeard ?? Instant(nanoseconds: 0) }

  package var isFailing: Bool { connection.isFailing }

  package func attach(_ receiver: any LinkReceiver) {
    self.receiver.withLock { $0 = receiver }
    for (channel, lane) in [(control, Lane.control), (bulk, Lane.bulk)] {
      channel.attach(
        onMessage: { frame, _ in receiver.received(frame, on: lane) },
        drainedBelow: receiver.drainMark,
        onDrained: { receiver.drained() },
        onClose: { [weak self] _ in self?.fail() })
    }
    // Ends with the connection.
    Task { [incoming = connection.incomingChannels] in
      for await channel in incoming {
        if channel.protocol == DataChannelLink.channelProtocol { receiver.opened(channel) } else { channel.close() }
      }
    }
  }

  package func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) {
    Task { [connection] in
      opened(try? await connection.openChannel(label: label, protocol: DataChannelLink.channelProtocol))
    }
  }

  package func close() { Task { await closed() } }

  package func closed() async {
    isOver.store(true, ordering: .relaxed)
    receiver.withLock { $0 = nil }
    await connection.close()
  }

  private func fail() {
    guard !isOver.exchange(true, ordering: .relaxed) else { return }
    let told = receiver.withLock { receiver in
      defer { receiver = nil }
      return receiver
    }
    told?.lost()
    Task { [connection] in await connection.close() }
  }
}

extension DataChannel: LinkChannel {
  package func send(_ frame: Frame) { send(frame, kind: .binary) }

  package func abort(_ last: Frame) { close(dropping: last) }

  package func attach(
    onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (_ byPeer: Bool) -> Void
  ) {
    attach(onMessage: { frame, _ in onMessage(frame) }, onClose: { onClose($0 == .channelClosedByPeer) })
  }
}

import P2PFSSession
import Synchronization
import P2PFSWire

/// A channel that the other computer's program wants to open: to be accepted or refused. One that is let go of without
/// either is refused.
public final class IncomingChannel: Sendable {
  /// What the other side calls it: its word, so not to be shown as it is.
  public var name: String { channel.name }
  /// What is to travel on it.
  public var kind: Channel.Kind { channel.keepsMessages ? .messages : .stream }
  /// The other computer.
  public let peer: Peer
  private let channel: SessionChannel
  private let isDecided = Atomic<Bool>(false)

  init(_ channel: SessionChannel, of peer: Peer) {
    self.channel = channel
    self.peer = peer
  }

  deinit { refuse() }

  /// Accepts it: the other side's `Peer.open` returns.
  ///
  /// A channel that the other side has given up meanwhile says so when it is used.
  /// - Throws: `.closed` if it was accepted or refused before.
  public func accept() throws(PeerError) -> Channel {
    guard !isDecided.exchange(true, ordering: .relaxed) else {
      throw PeerError(.closed, "the channel was accepted or refused before")
    }
    channel.accept()
    return peer.note(Channel(channel, of: peer))
  }

  /// Refuses it: the other side's `Peer.open` throws `.refused`, with the reason, of which it is told 400 bytes at most.
  /// Nothing happens if it was accepted or refused before.
  public func refuse(_ reason: String = "") {
    guard !isDecided.exchange(true, ordering: .relaxed) else { return }
    channel.reset(.refused, reason)
  }
}

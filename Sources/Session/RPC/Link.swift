package import P2PFSCore

/// The two streams of one connection. Each keeps its order; nothing orders one against the other.
package enum Lane: UInt8, Sendable, CaseIterable {
  /// Requests and short answers.
  case control = 0
  /// File contents: `write` requests and the answers to `read`, so that `ls` never waits behind a copy.
  case bulk = 1
}

/// One connection to the peer, as a session needs it. Real ones are data channels of a peer connection; tests use a
/// pair in memory.
package protocol Link: AnyObject, Sendable {
  /// Queues a message of at most `Limits.Wire.message` bytes. From any thread; never blocks.
  /// On a link that is lost the message is dropped.
  func send(_ frame: Frame, on lane: Lane)
  /// Bytes accepted by `send` that were not yet sent to the network. From any thread.
  var backlog: Int { get }
  /// When the last authenticated packet of the peer was received. From any thread.
  var lastHeard: Instant { get }
  /// Whether the kernel refused to send the last packet: this computer's address is gone, or there is no route. From
  /// any thread.
  var isFailing: Bool { get }
  /// Closes the link; `lost` is not called any more. From any thread.
  func close()
  /// Closes it, and returns when everything sent has arrived, or after a moment; also in a task that was cancelled.
  func closed() async
  /// Sets the receiver of its events. Called once; messages that arrive earlier are kept until then.
  func attach(_ receiver: any LinkReceiver)
  /// Opens a channel beside the lanes. `opened` is called once, on any thread: with nil if that failed.
  func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void)
}

/// An ordered stream of messages of one link, beside its lanes.
package protocol LinkChannel: AnyObject, Sendable {
  /// The label that its opener has chosen.
  var label: String { get }
  /// Queues a message of at most `Limits.Wire.message` bytes. From any thread; never blocks. Dropped when it is closed.
  func send(_ frame: Frame)
  /// Bytes accepted by `send` that were not yet sent to the network. From any thread.
  var queuedBytes: Int { get }
  /// Closes it behind everything sent. From any thread.
  func close()
  /// Drops all unsent messages, sends a last one, and closes it. From any thread.
  func abort(_ last: Frame)
  /// Sets the callbacks, which are called on the link's thread; once. `onClose` is the last call; `byPeer` tells that
  /// the peer closed this channel alone.
  func attach(
    onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (_ byPeer: Bool) -> Void)
}

/// The receiver of a link's events. All calls come on the link's one thread and must not block.
package protocol LinkReceiver: AnyObject, Sendable {
  /// A message was received.
  func received(_ frame: Frame, on lane: Lane)
  /// Bytes of one lane's backlog at which `drained` is called. Does not change.
  var drainMark: Int { get }
  /// The backlog of a lane has fallen below `drainMark`, after having been above it.
  func drained()
  /// The peer has opened a channel beside the lanes. From any thread.
  func opened(_ channel: any LinkChannel)
  /// The link is gone: closed by the peer, or its connection failed. Called at most once, as the last call.
  func lost()
}

extension LinkReceiver {
  package var drainMark: Int { Limits.Session.backlog / 4 }
}

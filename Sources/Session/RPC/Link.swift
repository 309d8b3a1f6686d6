package import P2PFSCore

/// The two streams of one connection. Each keeps its order; nothing orders one against the other.
package enum Lane: UInt8, Sendable, CaseIterable {
  /// Requests and short answers.
  case control = 0
  /// File contents: `write` requests and the answers to `read`, so that `ls` never waits behind a copy.
  case bulk = 1
}

/// One connection to the peer: what a session needs of the transport. Real ones are data channels of a
/// peer connection; tests use a pair in memory.
package protocol Link: AnyObject, Sendable {
  /// Queues a message of at most `Limits.Wire.message` bytes. From any thread; never blocks.
  /// On a link that is lost the message is dropped.
  func send(_ frame: Frame, on lane: Lane)
  /// Bytes accepted by `send` that have not yet left for the network. From any thread.
  var backlog: Int { get }
  /// When the last authenticated packet came from the peer. From any thread.
  var lastHeard: Instant { get }
  /// Whether the kernel refused to send the last packet: this computer's address is gone, or there is no route. From any
  /// thread.
  var isFailing: Bool { get }
  /// Closes the link; `lost` is not called any more. From any thread.
  func close()
  /// Closes it, and returns when what was sent has arrived, or had a moment to; also in a task that was cancelled.
  func closed() async
  /// Names who is told what arrives. Called once; what arrived earlier is kept until then.
  func attach(_ receiver: any LinkReceiver)
  /// Opens a channel beside the lanes. `opened` is called once, on any thread: with nil if it cannot be had.
  func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void)
}

/// An ordered stream of messages of one link, beside its lanes.
package protocol LinkChannel: AnyObject, Sendable {
  /// What its opener called it.
  var label: String { get }
  /// Queues a message of at most `Limits.Wire.message` bytes. From any thread; never blocks. Dropped when it is closed.
  func send(_ frame: Frame)
  /// Bytes accepted by `send` that have not yet left for the network. From any thread.
  var queuedBytes: Int { get }
  /// Closes it after what was sent. From any thread.
  func close()
  /// Drops what was sent and has not left yet, sends a last message, and closes it. From any thread.
  func abort(_ last: Frame)
  /// Names who is told what arrives, on the link's thread; once. `onClose` is the last call; `byPeer` tells that the
  /// peer closed this channel alone.
  func attach(
    onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (_ byPeer: Bool) -> Void)
}

/// Who is told what a link receives. All calls come on the link's one thread and must not block.
package protocol LinkReceiver: AnyObject, Sendable {
  /// A message came in.
  func received(_ frame: Frame, on lane: Lane)
  /// Bytes of one lane's backlog at which `drained` is told. Does not change.
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

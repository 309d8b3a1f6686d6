package import P2PFSCore
import DequeModule
import Synchronization

/// One ordered, reliable data channel of a `PeerConnection` (RFC 8831).
///
/// `send`, `close` and `queuedBytes` are for any thread. What comes in is reported on the transport thread.
package final class DataChannel: Sendable {
  /// What a message holds.
  package enum Kind: Sendable, Equatable {
    case binary
    /// UTF-8. Not verified.
    case text
  }

  /// What was agreed to be its name.
  package let label: String
  /// What is spoken on it; often empty.
  package let `protocol`: String
  /// The SCTP stream it uses in both directions.
  package let stream: UInt16
  let outbox: Outbox
  let queued = Atomic<Int>(0)
  // Belongs to the transport thread.
  nonisolated(unsafe) var delivery: Delivery
  nonisolated(unsafe) var outgoing = Deque<Outgoing>()
  nonisolated(unsafe) var isReady = false

  /// What waits to be given to SCTP.
  struct Outgoing {
    enum Content {
      case message(Kind)
      case establishment
      case close
      /// In the place of all that is before it: the frame, as a binary message, and `close`.
      case abort
    }
    let content: Content
    let frame: Frame
  }

  init(label: String, protocol name: String, stream: UInt16, outbox: Outbox, kept: KeptMessages) {
    self.label = label
    self.protocol = name
    self.stream = stream
    self.outbox = outbox
    delivery = Delivery(kept)
  }

  /// Queues a message of at most 65,535 bytes (empty ones too), which goes out after those queued before on this
  /// channel; messages of different channels take turns. Never blocks. Dropped if the channel is closed.
  package func send(_ frame: Frame, kind: Kind = .binary) {
    precondition(frame.count <= Limits.Wire.message, "a message of \(frame.count) bytes")
    outbox.add(Outgoing(content: .message(kind), frame: frame), of: self)
  }

  /// Bytes accepted by `send` and not yet handed to SCTP, whose own share is bounded by the path.
  package var queuedBytes: Int { queued.load(ordering: .relaxed) }

  /// Says who is told what arrives. Once; what came before is kept until then, up to `Limits.Transport.keptBytes` for all
  /// channels of the connection.
  ///
  /// All are called on the transport thread and must not block. A message's frame is the receiver's own.
  /// - Parameters:
  ///   - drainedBelow: `onDrained` is called each time `queuedBytes` falls from this many or more to fewer.
  ///   - onClose: the channel is gone, as the last call: `.closed` by us, `.channelClosedByPeer`, or the connection's error.
  package func attach(
    onMessage: @escaping @Sendable (Frame, Kind) -> Void, drainedBelow: Int = 0,
    onDrained: @escaping @Sendable () -> Void = {}, onClose: @escaping @Sendable (TransportError) -> Void = { _ in }
  ) {
    let receiver = Delivery.Receiver(
      onMessage: onMessage, drainedBelow: drainedBelow, onDrained: onDrained, onClose: onClose)
    TransportThread.shared.enqueue { self.delivery.attach(receiver) }
  }

  /// Closes the channel after what was queued before: our direction of its stream is reset, the peer then resets its
  /// own (RFC 8831 section 6.7). From any thread.
  package func close() {
    outbox.add(Outgoing(content: .close, frame: Frame(capacity: 0)), of: self)
  }

  /// As `close`, but what was queued and not handed to SCTP yet is dropped: `last`, a binary message, takes its place.
  package func close(dropping last: Frame) {
    precondition(last.count <= Limits.Wire.message, "a message of \(last.count) bytes")
    outbox.add(Outgoing(content: .abort, frame: last), of: self)
  }

  /// A queued message was handed to SCTP, or dropped. On the transport thread.
  func handedOver(_ count: Int) {
    let after = queued.subtract(count, ordering: .relaxed).newValue
    delivery.drained(from: after + count, to: after)
  }
}

/// How much all channels of one connection keep that nobody listens to yet. On the transport thread.
final class KeptMessages {
  private var count = 0
  private var bytes = 0

  /// - Returns: false if it is too much.
  func add(_ size: Int) -> Bool {
    count += 1
    bytes += size
    return count <= Limits.Transport.kept && bytes <= Limits.Transport.keptBytes
  }

  func remove(_ size: Int) {
    count -= 1
    bytes -= size
  }
}

/// What came in on a channel, and to whom it goes. On the transport thread.
struct Delivery {
  struct Receiver: Sendable {
    let onMessage: @Sendable (Frame, DataChannel.Kind) -> Void
    let drainedBelow: Int
    let onDrained: @Sendable () -> Void
    let onClose: @Sendable (TransportError) -> Void
  }

  private var receiver: Receiver?
  private var kept: [(Frame, DataChannel.Kind)] = []
  private let account: KeptMessages
  private(set) var ended: TransportError?

  init(_ account: KeptMessages) { self.account = account }

  mutating func attach(_ receiver: Receiver) {
    precondition(self.receiver == nil, "a channel has one receiver")
    self.receiver = receiver
    for (frame, kind) in kept {
      account.remove(frame.count)
      receiver.onMessage(frame, kind)
    }
    kept = []
    if let ended { receiver.onClose(ended) }
  }

  /// - Returns: false if too much is kept for nobody.
  mutating func deliver(_ frame: Frame, _ kind: DataChannel.Kind) -> Bool {
    if let receiver {
      receiver.onMessage(frame, kind)
      return true
    }
    kept.append((frame, kind))
    return account.add(frame.count)
  }

  func drained(from before: Int, to after: Int) {
    guard let receiver, before >= receiver.drainedBelow, after < receiver.drainedBelow else { return }
    receiver.onDrained()
  }

  mutating func end(_ error: TransportError) {
    guard ended == nil else { return }
    ended = error
    receiver?.onClose(error)
  }
}

/// The way from any thread into a connection: what the channels' `send` has accepted and the transport thread has not
/// seen yet.
final class Outbox: Sendable {
  private struct State {
    var items: [(DataChannel, DataChannel.Outgoing)] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let total = Atomic<Int>(0)
  private let wake: @Sendable () -> Void
  private let overrun: @Sendable () -> Void

  /// - Parameters:
  ///   - wake: called on the transport thread after the outbox has turned non-empty.
  ///   - overrun: called on the transport thread when more is queued than `Limits.Transport.queuedBytes`.
  init(wake: @escaping @Sendable () -> Void, overrun: @escaping @Sendable () -> Void) {
    self.wake = wake
    self.overrun = overrun
  }

  func add(_ item: DataChannel.Outgoing, of channel: DataChannel) {
    let count = item.frame.count
    let isFirst = state.withLock { state in
      guard !state.isClosed else { return false }
      state.items.append((channel, item))
      channel.queued.add(count, ordering: .relaxed)
      return state.items.count == 1
    }
    if total.add(count, ordering: .relaxed).newValue > Limits.Transport.queuedBytes {
      TransportThread.shared.enqueue(overrun)
    }
    if isFirst { TransportThread.shared.enqueue(wake) }
  }

  /// Takes what has gathered, leaving the memory of `items`, which must be empty.
  func take(into items: inout [(DataChannel, DataChannel.Outgoing)]) {
    state.withLock { swap(&$0.items, &items) }
  }

  /// `count` bytes have left.
  func left(_ count: Int) { total.subtract(count, ordering: .relaxed) }

  /// Drops everything from now on.
  func close() {
    state.withLock {
      $0.isClosed = true
      $0.items = []
    }
  }
}

package import P2PFSCore
import DequeModule
import Synchronization

/// One ordered, reliable data channel of a `PeerConnection` (RFC 8831).
///
/// `send`, `close` and `queuedBytes` may be used on any thread. Messages are delivered on the transport thread.
package final class DataChannel: Sendable {
  /// The type of a message.
  package enum Kind: Sendable, Equatable {
    case binary
    /// UTF-8, not validated.
    case text
  }

  /// The name given by the side that opened it.
  package let label: String
  /// The subprotocol (RFC 8832 section 5.1); often empty.
  package let `protocol`: String
  /// The SCTP stream it uses in both directions.
  package let stream: UInt16
  let outbox: Outbox
  let queued = Atomic<Int>(0)
  // The following belong to the transport thread.
  nonisolated(unsafe) var delivery: Delivery
  nonisolated(unsafe) var outgoing = Deque<Outgoing>()
  nonisolated(unsafe) var isReady = false

  /// An entry of the queue towards SCTP.
  struct Outgoing {
    enum Content {
      case message(Kind)
      case establishment
      case close
      /// Drops all messages queued before; the frame, as a binary message, and `close` take their place.
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

  /// Queues a message of 0 to 65,535 bytes. Messages of one channel are sent in order; channels take turns.
  /// Never blocks. Dropped if the channel is closed.
  package func send(_ frame: Frame, kind: Kind = .binary) {
    precondition(frame.count <= Limits.Wire.message, "a message of \(frame.count) bytes")
    outbox.add(Outgoing(content: .message(kind), frame: frame), of: self)
  }

  /// Bytes accepted by `send` and not yet given to SCTP. SCTP's own buffer is bounded by the path's window.
  package var queuedBytes: Int { queued.load(ordering: .relaxed) }

  /// Sets the handlers, once. Messages that arrive before are kept, up to `Limits.Transport.keptBytes` for all channels of
  /// the connection.
  ///
  /// Handlers are called on the transport thread and must not block. The receiver owns a message's frame.
  /// - Parameters:
  ///   - drainedBelow: `onDrained` is called each time `queuedBytes` falls from this many or more to fewer.
  ///   - onClose: called last, when the channel is closed: `.closed` by us, `.channelClosedByPeer`, or the connection's
  ///     error.
  package func attach(
    onMessage: @escaping @Sendable (Frame, Kind) -> Void, drainedBelow: Int = 0,
    onDrained: @escaping @Sendable () -> Void = {}, onClose: @escaping @Sendable (TransportError) -> Void = { _ in }
  ) {
    let receiver = Delivery.Receiver(
      onMessage: onMessage, drainedBelow: drainedBelow, onDrained: onDrained, onClose: onClose)
    TransportThread.shared.enqueue { self.delivery.attach(receiver) }
  }

  /// Closes the channel after the messages queued before: our direction of its stream is reset, then the peer resets its
  /// own (RFC 8831 section 6.7). From any thread.
  package func close() {
    outbox.add(Outgoing(content: .close, frame: Frame(capacity: 0)), of: self)
  }

  /// As `close`, but queued messages that SCTP does not have yet are dropped; `last`, a binary message, replaces them.
  package func close(dropping last: Frame) {
    precondition(last.count <= Limits.Wire.message, "a message of \(last.count) bytes")
    outbox.add(Outgoing(content: .abort, frame: last), of: self)
  }

  /// A queued message was given to SCTP, or dropped. On the transport thread.
  func handedOver(_ count: Int) {
    let after = queued.subtract(count, ordering: .relaxed).newValue
    delivery.drained(from: after + count, to: after)
  }
}

/// Counts the messages kept for channels without handlers, over all channels of a connection. On the transport thread.
final class KeptMessages {
  private var count = 0
  private var bytes = 0

  /// - Returns: false if that is over the limit.
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

/// Delivers the messages of a channel to its handlers, and keeps them until there are any. On the transport thread.
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

  /// - Returns: false if too many messages are kept.
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

/// Thread-safe queue of outgoing messages, from any thread to the transport thread.
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
  ///   - wake: called on the transport thread after the queue has become non-empty.
  ///   - overrun: called on the transport thread when more is queued than `Limits.Transport.queuedBytes`.
  init(wake: @escaping @Sendable () -> Void, overrun: @escaping @Sendable () -> Void) {
    self.wake = wake
    self.overrun = overrun
  }

  func add(_ item: DataChannel.Outgoing, of channel: DataChannel) {
    let count = item.frame.count
    let isFirst: Bool? = state.withLock { state in
      guard !state.isClosed else { return nil }
      state.items.append((channel, item))
      channel.queued.add(count, ordering: .relaxed)
      return state.items.count == 1
    }
    guard let isFirst else { return }
    if total.add(count, ordering: .relaxed).newValue > Limits.Transport.queuedBytes {
      TransportThread.shared.enqueue(overrun)
    }
    if isFirst { TransportThread.shared.enqueue(wake) }
  }

  /// Takes all queued messages by swapping them with `items`, which must be empty: its memory is used again.
  func take(into items: inout [(DataChannel, DataChannel.Outgoing)]) {
    state.withLock { swap(&$0.items, &items) }
  }

  /// `count` bytes were given to SCTP, or dropped.
  func left(_ count: Int) { total.subtract(count, ordering: .relaxed) }

  /// Drops all queued messages and everything added later.
  func close() {
    state.withLock {
      $0.isClosed = true
      $0.items = []
    }
  }
}

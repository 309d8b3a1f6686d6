import P2PFSCore
import DequeModule
import P2PFSWire

/// Flow control of one channel: output that the peer has not acknowledged, input that the program has not consumed, and
/// the windows of both directions.
///
/// ```
///              acknowledged by the peer     limit of the peer
/// output:    0 ───────┬───────────── sent ────────┬──────▶   unacknowledged, kept to be sent again: between the two
/// input:     0 ───────┬───────────── received ────┬──────▶   in the inbox: between consumed and received
///                  consumed                     limit
/// ```
/// A plain value, without I/O and clock. Whatever it returns is to be sent in that order, on the present connection.
struct ChannelFlow {
  let number: UInt64
  let keepsMessages: Bool
  private let sendPool: WindowPool
  private let receivePool: WindowPool

  // Output.
  private(set) var sent: UInt64 = 0
  private(set) var endSent: UInt64?
  private var unacknowledgedFrames = Deque<(end: UInt64, frame: Frame)>()
  private var peerConsumed: UInt64 = 0
  private var peerLimit = Limits.Channel.window
  private var sendWindow = Limits.Channel.window
  /// Whether the next piece is marked as one that waited for the peer's limit, with nothing else on the way.
  private var isWindowLimited = false
  /// Whether the peer has answered our opening message, or opened the channel itself.
  private(set) var isKnownToPeer: Bool

  // Input.
  private var inbox = Deque<FrameSlice>()
  private(set) var received: UInt64 = 0
  private var endReceived: UInt64?
  private(set) var consumed: UInt64 = 0
  private var granted: UInt64 = Limits.Channel.window
  private var grantedAt: UInt64 = 0
  private var window = Limits.Channel.window
  /// Whether the peer has marked a piece since the last credit.
  private var isPeerWindowLimited = false

  /// A channel without any output or input. `isKnownToPeer`: the peer has opened it.
  init(number: UInt64, keepsMessages: Bool, isKnownToPeer: Bool, sendPool: WindowPool, receivePool: WindowPool) {
    self.number = number
    self.keepsMessages = keepsMessages
    self.isKnownToPeer = isKnownToPeer
    self.sendPool = sendPool
    self.receivePool = receivePool
  }

  /// Returns the windows to the pools, and drops the output. Afterwards only input that is here already can be
  /// dequeued.
  mutating func dispose() {
    sendPool.give(back: sendWindow - Limits.Channel.window)
    receivePool.give(back: window - Limits.Channel.window)
    (sendWindow, window) = (Limits.Channel.window, Limits.Channel.window)
    unacknowledgedFrames = []
  }

  /// The peer has acknowledged the whole output, its end too.
  var isSendingComplete: Bool { endSent.map { peerConsumed == $0 + 1 } ?? false }
  /// The program has consumed the whole input, its end too.
  var isReceivingComplete: Bool { endReceived.map { consumed == $0 + 1 } ?? false }
  /// Both.
  var isComplete: Bool { isSendingComplete && isReceivingComplete }

  private static func cost(_ count: Int) -> UInt64 { UInt64(count + Limits.Channel.pieceCost) }

  // MARK: - Output

  /// Whether a piece of `count` bytes fits into the window now.
  mutating func hasRoom(for count: Int) -> Bool {
    let end = sent + Self.cost(count)
    guard end <= peerLimit else { return false }
    while end > peerConsumed + sendWindow {
      guard sendWindow < Limits.Channel.widestWindow, sendPool.take(sendWindow) else { return false }
      sendWindow *= 2
    }
    return true
  }

  /// Takes a piece, made with `ChannelMessage.dataFrame`, for which there is room. It is to be sent if there is a
  /// connection.
  mutating func enqueue(_ frame: Frame) {
    precondition(endSent == nil, "data behind the end")
    ChannelMessage.number(frame, sent)
    if isWindowLimited {
      ChannelMessage.markStarved(frame)
      isWindowLimited = false
    }
    sent += Self.cost(frame.count - ChannelMessage.header)
    unacknowledgedFrames.append((sent, frame))
  }

  /// The output ends. Returns the message to send; nil if it has ended before.
  mutating func enqueueEnd() -> Frame? {
    guard endSent == nil else { return nil }
    endSent = sent
    let frame = ChannelMessage.end(position: sent).frame
    sent += 1
    unacknowledgedFrames.append((sent, frame))
    return frame
  }

  /// The sender is limited by the window: nothing is queued, and the program waits for credit.
  mutating func markWindowLimited() { isWindowLimited = true }

  /// All output that the peer has not acknowledged.
  var unacknowledged: [Frame] { unacknowledgedFrames.map(\.frame) }

  /// The peer acknowledges output, and grants more. Never less than before.
  mutating func credit(consumed: UInt64, limit: UInt64) throws(MalformedMessage) {
    guard consumed <= sent else { throw MalformedMessage("it acknowledged data that was never sent") }
    peerConsumed = max(peerConsumed, consumed)
    peerLimit = max(peerLimit, limit)
    while let first = unacknowledgedFrames.first, first.end <= peerConsumed { unacknowledgedFrames.removeFirst() }
  }

  // MARK: - A new connection

  /// The first message on a connection.
  var opening: ChannelMessage.Open {
    .init(
      number: number, isKnown: isKnownToPeer, keepsMessages: keepsMessages, received: received, consumed: consumed,
      limit: granted)
  }

  /// The peer's opening message has come. Returns the output that it has not received.
  mutating func opened(_ open: ChannelMessage.Open) throws(MalformedMessage) -> [Frame] {
    guard open.received <= sent, open.received >= peerConsumed else {
      throw MalformedMessage("it claims to have received data that was never sent")
    }
    isKnownToPeer = true
    try credit(consumed: open.consumed, limit: open.limit)
    return unacknowledgedFrames.filter { $0.end > open.received }.map(\.frame)
  }

  // MARK: - Input

  /// A piece has come in. Returns whether it is the first in the inbox; nil if it was received before.
  mutating func receive(_ piece: FrameSlice, at position: UInt64) throws(MalformedMessage) -> Bool? {
    // A piece that a lost connection has brought is sent again if our acknowledgement was lost, too.
    guard position >= received else { return nil }
    let end = position + Self.cost(piece.count)
    guard position == received, endReceived == nil else { throw MalformedMessage("a gap in the data of a channel") }
    guard end <= granted else { throw MalformedMessage("more data than the window of a channel allows") }
    received = end
    if ChannelMessage.isStarved(piece.frame) { isPeerWindowLimited = true }
    inbox.append(piece)
    return inbox.count == 1
  }

  /// The end has come in. Returns false if it was received before.
  mutating func receiveEnd(at position: UInt64) throws(MalformedMessage) -> Bool {
    guard position >= received else { return false }
    guard position == received, endReceived == nil else { throw MalformedMessage("an unexpected end of a channel") }
    endReceived = position
    received += 1
    return true
  }

  /// The next input for the program; nil if there is none.
  mutating func dequeue() -> Arrival? {
    if let piece = inbox.popFirst() { return .piece(piece) }
    // The end comes again until it is consumed.
    return endReceived != nil && !isReceivingComplete ? .end : nil
  }

  /// Input for the program.
  enum Arrival {
    case piece(FrameSlice)
    case end
  }

  /// The program is done with a piece. Returns a new credit if one is due.
  mutating func consume(_ piece: FrameSlice) -> ChannelMessage? {
    consumed += Self.cost(piece.count)
    // Also when nothing is left here: the peer may keep less than it was granted, and wait.
    let due = inbox.isEmpty ? Limits.Channel.window / 4 : window / 4
    guard consumed - grantedAt >= due else { return nil }
    // The program keeps up, and so does the network: the window is what limits the peer.
    let keepsUp = received - consumed < window / 4
    if isPeerWindowLimited, keepsUp, window < Limits.Channel.widestWindow, receivePool.take(window) { window *= 2 }
    isPeerWindowLimited = false
    return grant()
  }

  /// The program has consumed the end. Returns the credit that acknowledges it.
  mutating func consumeEnd() -> ChannelMessage? {
    guard let endReceived, consumed == endReceived else { return nil }
    consumed += 1
    return grant()
  }

  private mutating func grant() -> ChannelMessage {
    granted = max(granted, consumed + window)
    grantedAt = consumed
    return .credit(consumed: consumed, limit: granted)
  }
}

import P2PFSCore
import DequeModule
import P2PFSWire

/// What one side knows of a channel: what it has said and the peer has not taken yet, what has come in, and the
/// windows of both directions.
///
/// ```
///                taken by the peer          limit of the peer
/// said:      0 ───────┬───────────── sent ───────┬──────▶      what lies between the two bars is kept to be sent again
/// heard:     0 ───────┬───────────── received ───┬──────▶      what lies between consumed and received is in the inbox
///                  consumed                    limit
/// ```
/// A plain value, without I/O and clock. What it returns is to be sent in that order, on the present connection.
struct ChannelState {
  /// What came in for the program.
  enum Arrival {
    case piece(FrameSlice)
    case end
  }

  let number: UInt64
  let keepsMessages: Bool
  private let sendPool: WindowPool
  private let receivePool: WindowPool

  // What we say.
  private(set) var sent: UInt64 = 0
  private(set) var endSent: UInt64?
  private var kept = Deque<(end: UInt64, frame: Frame)>()
  private var peerConsumed: UInt64 = 0
  private var peerLimit = Limits.Channel.window
  private var sendWindow = Limits.Channel.window
  /// Whether the next piece is to say that it waited for the peer's limit, with nothing else on the way.
  private var isStarved = false
  /// Whether the peer has answered our opening message, or opened the channel itself.
  private(set) var isKnownToPeer: Bool

  // What we hear.
  private var inbox = Deque<FrameSlice>()
  private(set) var received: UInt64 = 0
  private var endReceived: UInt64?
  private(set) var consumed: UInt64 = 0
  private var granted: UInt64 = Limits.Channel.window
  private var grantedAt: UInt64 = 0
  private var window = Limits.Channel.window
  /// Whether the peer has said so since the last credit.
  private var isPeerStarved = false

  init(number: UInt64, keepsMessages: Bool, isKnownToPeer: Bool, sendPool: WindowPool, receivePool: WindowPool) {
    self.number = number
    self.keepsMessages = keepsMessages
    self.isKnownToPeer = isKnownToPeer
    self.sendPool = sendPool
    self.receivePool = receivePool
  }

  /// Gives back what the windows have taken from the pools. Afterwards only what came in already can be taken.
  mutating func dispose() {
    sendPool.give(back: sendWindow - Limits.Channel.window)
    receivePool.give(back: window - Limits.Channel.window)
    (sendWindow, window) = (Limits.Channel.window, Limits.Channel.window)
    kept = []
  }

  /// All that we have said was taken, its end too.
  var isSendingComplete: Bool { endSent.map { peerConsumed == $0 + 1 } ?? false }
  /// All that the peer has said was taken, its end too.
  var isReceivingComplete: Bool { endReceived.map { consumed == $0 + 1 } ?? false }
  var isComplete: Bool { isSendingComplete && isReceivingComplete }

  private static func cost(_ count: Int) -> UInt64 { UInt64(count + Limits.Channel.pieceCost) }

  // MARK: - Saying

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
  mutating func say(_ frame: Frame) {
    precondition(endSent == nil, "data behind the end")
    ChannelMessage.number(frame, sent)
    if isStarved {
      ChannelMessage.markStarved(frame)
      isStarved = false
    }
    sent += Self.cost(frame.count - ChannelMessage.header)
    kept.append((sent, frame))
  }

  /// There is no more. Returns what is to be sent; nil if that was said already.
  mutating func sayEnd() -> Frame? {
    guard endSent == nil else { return nil }
    endSent = sent
    let frame = ChannelMessage.end(position: sent).frame
    sent += 1
    kept.append((sent, frame))
    return frame
  }

  /// All that was said has left, and the program waits for room: it could have said more.
  mutating func starve() { isStarved = true }

  // MARK: - A new connection

  /// What to say first on a connection.
  var opening: ChannelMessage.Open {
    .init(
      number: number, isKnown: isKnownToPeer, keepsMessages: keepsMessages, received: received, consumed: consumed,
      limit: granted)
  }

  /// The peer's opening message has come. Returns what it has not received.
  mutating func opened(_ open: ChannelMessage.Open) throws(MalformedMessage) -> [Frame] {
    guard open.received <= sent, open.received >= peerConsumed else {
      throw MalformedMessage("it claims to have received data that was never sent")
    }
    isKnownToPeer = true
    try credit(consumed: open.consumed, limit: open.limit)
    return kept.filter { $0.end > open.received }.map(\.frame)
  }

  /// All that the peer has not taken.
  var unconfirmed: [Frame] { kept.map(\.frame) }

  // MARK: - Hearing

  /// The peer has taken something, and grants more. Never less than before.
  mutating func credit(consumed: UInt64, limit: UInt64) throws(MalformedMessage) {
    guard consumed <= sent else { throw MalformedMessage("it acknowledged data that was never sent") }
    peerConsumed = max(peerConsumed, consumed)
    peerLimit = max(peerLimit, limit)
    while let first = kept.first, first.end <= peerConsumed { kept.removeFirst() }
  }

  /// A piece has come in. Returns whether it is the first that waits for the program; nil if it was here before.
  mutating func heard(_ piece: FrameSlice, at position: UInt64) throws(MalformedMessage) -> Bool? {
    // What a lost connection had brought already is sent again when our word of that was lost, too.
    guard position >= received else { return nil }
    let end = position + Self.cost(piece.count)
    guard position == received, endReceived == nil else { throw MalformedMessage("a gap in a channel") }
    guard end <= granted else { throw MalformedMessage("more than the window of a channel") }
    received = end
    if ChannelMessage.isStarved(piece.frame) { isPeerStarved = true }
    inbox.append(piece)
    return inbox.count == 1
  }

  /// The end has come in. Returns false if it was here before.
  mutating func heardEnd(at position: UInt64) throws(MalformedMessage) -> Bool {
    guard position >= received else { return false }
    guard position == received, endReceived == nil else { throw MalformedMessage("an end in the middle of a channel") }
    endReceived = position
    received += 1
    return true
  }

  /// What waits for the program.
  mutating func take() -> Arrival? {
    if let piece = inbox.popFirst() { return .piece(piece) }
    // The end comes again until it was taken.
    return endReceived != nil && !isReceivingComplete ? .end : nil
  }

  /// The program is done with a piece. Returns a new credit if it is time for one.
  mutating func consume(_ piece: FrameSlice) -> ChannelMessage? {
    consumed += Self.cost(piece.count)
    // Also when nothing is left here: the peer may keep less than it was granted, and wait.
    let due = inbox.isEmpty ? Limits.Channel.window / 4 : window / 4
    guard consumed - grantedAt >= due else { return nil }
    // The program keeps up, and so does the network: the window is what limits the peer.
    if isPeerStarved, received - consumed < window / 4, window < Limits.Channel.widestWindow, receivePool.take(window) {
      window *= 2
    }
    isPeerStarved = false
    return grant()
  }

  /// The program has seen the end. Returns the credit that tells the peer.
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

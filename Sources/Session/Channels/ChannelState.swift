import P2PFSCore
import P2PFSWire

/// The whole life of a channel, on one of its sides: which data channel carries it, how far that is opened, the stream
/// in both directions (`ChannelFlow`), and its end.
///
/// ```
///               a data channel              ours: at once                 the peer's `open`
///   detached ──────────────────▶ attached ─────────────────▶ opening ──────────────────────────────▶ open
///      ▲                            │                                                                ▲ │
///      │                            └─ the peer's `open` ──▶ unaccepted ── accepted by the program ──┘ │ complete:
///      │                                                                                               │ send `done`
///      └───── the data channel is gone ◀── from each of them                                           ▼
///                                                            over ◀── complete, and the peer's `done` came
///   any of them ── reset, not opened again in time ──▶ over, with a failure
/// ```
/// A plain value without I/O and clock: each event returns the actions that are to be carried out, in order.
struct ChannelState {
  /// What is to be reported to the program.
  struct Events: OptionSet {
    let rawValue: UInt8
    /// There is something to receive after there was nothing.
    static let readable = Events(rawValue: 1)
    /// There may be room after there was none.
    static let writable = Events(rawValue: 2)
    /// The peer has accepted, or the channel has failed.
    static let opened = Events(rawValue: 4)
    /// The peer has acknowledged everything, or the channel is over.
    static let taken = Events(rawValue: 8)
    /// It is over: the last event, once.
    static let over = Events(rawValue: 16)
  }

  /// What becomes of the data channel.
  enum Closing {
    case none
    /// The state has let go of it: it closes with its connection.
    case forget
    case close
    /// Unsent data is dropped, and this message sent.
    case abort(Frame)
  }

  /// To be carried out in this order.
  struct Actions {
    var send: [Frame] = []
    var closing = Closing.none
    var events: Events = []
  }

  /// What became of a piece that the program sends.
  enum Enqueued {
    /// The window has no room for it.
    case noRoom
    /// It was taken, and is to be sent now.
    case sendNow
    /// It was taken, and will be sent.
    case sendLater
  }

  private enum Phase {
    /// No data channel carries it, for `seconds` of connection.
    case detached(seconds: Double)
    /// A data channel does, of this connection of the session.
    case attached(connection: UInt64, Stage)
    case over(SessionChannelError?)
  }

  private enum Stage {
    /// Of the peer's channels: its opening message has not come.
    case attached
    /// Of ours: our opening message was sent.
    case opening
    /// The peer's opening message has come; the program has not accepted yet.
    case unaccepted
    /// Both were exchanged. `done`: seconds since ours was sent.
    case open(done: Double?)
  }

  /// Whether this side opened it.
  let isOurs: Bool
  private(set) var flow: ChannelFlow
  private var phase = Phase.detached(seconds: 0)
  /// Ours: always. Opened by the peer: since the program has accepted it.
  private var isAccepted: Bool
  /// Whether the peer has sent `done`, on any connection.
  private var isPeerDone = false
  /// Whether a piece had no room, so that the program waits for the window.
  private var isBlocked = false

  /// A channel that no data channel carries yet.
  init(number: UInt64, isOurs: Bool, keepsMessages: Bool, sendPool: WindowPool, receivePool: WindowPool) {
    self.isOurs = isOurs
    isAccepted = isOurs
    flow = ChannelFlow(
      number: number, keepsMessages: keepsMessages, isKnownToPeer: !isOurs, sendPool: sendPool,
      receivePool: receivePool)
  }

  // MARK: - How it stands

  var isOver: Bool { if case .over = phase { true } else { false } }
  /// Why it failed; nil if it did not.
  var failure: SessionChannelError? { if case .over(let failure) = phase { failure } else { nil } }
  /// Whether a data channel carries it.
  var isAttached: Bool { if case .attached = phase { true } else { false } }
  /// Whether the peer's program has accepted it, or it has failed.
  var isOpened: Bool { failure != nil || flow.isKnownToPeer }
  /// Whether the peer has acknowledged everything, or it is over.
  var isTaken: Bool { isOver || flow.isSendingComplete }

  /// Whether output may be sent at once. The opening message of a new channel of ours need not be answered first.
  private var maySend: Bool {
    switch phase {
    case .attached(_, .open): true
    case .attached(_, .opening): !flow.isKnownToPeer
    default: false
    }
  }

  // MARK: - The data channel

  /// A connection of the session has a data channel for it; `connection` is its number.
  /// - Returns: nil if it is not taken.
  mutating func attach(connection: UInt64) -> Actions? {
    switch phase {
    case .over: return nil
    case .attached(let present, _) where connection <= present: return nil
    case .attached, .detached: break
    }
    guard isOurs else {
      phase = .attached(connection: connection, .attached)
      return Actions()
    }
    phase = .attached(connection: connection, .opening)
    let opening = ChannelMessage.open(flow.opening).frame
    return Actions(send: flow.isKnownToPeer ? [opening] : [opening] + flow.unacknowledged)
  }

  /// The data channel is gone: with its connection, or closed by the peer without a word.
  mutating func detached(byPeer: Bool) -> Actions {
    guard isAttached else { return Actions() }
    phase = .detached(seconds: 0)
    var actions = Actions(closing: .forget)
    if byPeer { end(.reset(.cancelled, ""), .forget, &actions) }
    return actions
  }

  /// The program accepts a channel that the peer has opened.
  mutating func accept() -> Actions {
    guard !isAccepted else { return Actions() }
    isAccepted = true
    guard case .attached(let connection, .unaccepted) = phase else { return Actions() }
    phase = .attached(connection: connection, .open(done: nil))
    return Actions(send: [ChannelMessage.open(flow.opening).frame] + flow.unacknowledged)
  }

  /// A message of the peer on the data channel. `isQueueEmpty`: whether everything sent on it has left.
  mutating func receive(_ message: ChannelMessage, isQueueEmpty: Bool) throws(MalformedMessage) -> Actions {
    guard case .attached(let connection, let stage) = phase else { return Actions() }
    var actions = Actions()
    switch (message, stage) {
    case (.open(let open), .attached), (.open(let open), .opening):
      guard open.number == flow.number, open.keepsMessages == flow.keepsMessages else {
        throw MalformedMessage("an opening message of another channel")
      }
      try receive(open, connection, &actions)
    case (.open, .unaccepted), (.open, .open): throw MalformedMessage("a channel opened twice")
    case (.reset(let code, let text), .opening), (.reset(let code, let text), .unaccepted),
      (.reset(let code, let text), .open):
      end(.reset(code, text), .close, &actions)
      return actions
    case (_, .attached), (_, .opening): throw MalformedMessage("a message before the opening one")
    case (.data(let position, let piece), _):
      if try flow.receive(piece, at: position) ?? false { actions.events = .readable }
      return actions
    case (.end(let position), _):
      if try flow.receiveEnd(at: position) { actions.events = .readable }
      return actions
    case (.credit(let consumed, let limit), _):
      if isBlocked, isQueueEmpty { flow.markWindowLimited() }
      try flow.credit(consumed: consumed, limit: limit)
    case (.done, _): isPeerDone = true
    }
    if isBlocked {
      isBlocked = false
      actions.events.insert(.writable)
    }
    if flow.isSendingComplete { actions.events.insert(.taken) }
    settle(&actions)
    return actions
  }

  private mutating func receive(
    _ open: ChannelMessage.Open, _ connection: UInt64, _ actions: inout Actions
  ) throws(MalformedMessage) {
    let wasKnown = flow.isKnownToPeer
    let missing = try flow.opened(open)
    actions.events.insert(.opened)
    guard isAccepted else {
      phase = .attached(connection: connection, .unaccepted)
      return
    }
    phase = .attached(connection: connection, .open(done: nil))
    if isOurs {
      // On its first connection all of it was sent behind our opening message.
      if wasKnown { actions.send = missing }
    } else {
      actions.send = [ChannelMessage.open(flow.opening).frame] + missing
    }
  }

  // MARK: - The program

  /// The program sends a piece, made with `ChannelMessage.dataFrame`.
  mutating func enqueue(_ piece: Frame) -> Enqueued {
    guard flow.hasRoom(for: piece.count - ChannelMessage.header) else {
      isBlocked = true
      return .noRoom
    }
    flow.enqueue(piece)
    return maySend ? .sendNow : .sendLater
  }

  /// The program has no more to send.
  /// - Returns: the message to send now, if any.
  mutating func finish() -> Frame? {
    guard failure == nil, let end = flow.enqueueEnd() else { return nil }
    return maySend ? end : nil
  }

  /// The next input for the program; nil if there is none.
  mutating func dequeue() -> ChannelFlow.Arrival? { flow.dequeue() }

  /// The program is done with a piece.
  /// - Returns: the message to send now, if any.
  mutating func consume(_ piece: FrameSlice) -> Frame? {
    guard failure == nil, let credit = flow.consume(piece) else { return nil }
    return maySend ? credit.frame : nil
  }

  /// The program has dealt with the end of the input.
  mutating func consumeEnd() -> Actions {
    var actions = Actions()
    guard failure == nil, let credit = flow.consumeEnd() else { return actions }
    if maySend { actions.send.append(credit.frame) }
    settle(&actions)
    return actions
  }

  // MARK: - The end

  /// The program gives up, and the peer is told why.
  mutating func reset(_ code: ChannelMessage.ResetCode, _ reason: String) -> Actions {
    var actions = Actions()
    let failure = code == .cancelled ? SessionChannelError.cancelled : .reset(code, reason)
    end(failure, .abort(ChannelMessage.reset(code, reason).frame), &actions)
    return actions
  }

  /// It fails, without a message to the peer.
  mutating func fail(_ error: SessionChannelError) -> Actions {
    var actions = Actions()
    // With the session the connection goes by itself: the end of a channel alone would look as if it had been given up.
    end(error, error == .peerGone ? .forget : .close, &actions)
    return actions
  }

  /// Counts time during which the session is connected. A channel that the peer does not open again is over, and so is
  /// a complete one whose peer sends no `done`: as long as the peer may need our acknowledgement once more, on the next
  /// connection, we stay.
  mutating func count(_ seconds: Double) -> Actions {
    var actions = Actions()
    switch phase {
    case .detached(let waited):
      phase = .detached(seconds: waited + seconds)
      if !isOurs, waited + seconds >= Limits.Channel.reopening { end(.reset(.lost, ""), .forget, &actions) }
    case .attached(let connection, .open(let done?)):
      phase = .attached(connection: connection, .open(done: done + seconds))
      if done + seconds >= Limits.Channel.farewell { end(nil, .close, &actions) }
    case .attached, .over: break
    }
    return actions
  }

  /// After an acknowledgement in either direction: sends `done` when all is complete, and is over when the peer's came.
  private mutating func settle(_ actions: inout Actions) {
    guard flow.isComplete, !isOver else { return }
    if case .attached(let connection, .open(nil)) = phase {
      phase = .attached(connection: connection, .open(done: 0))
      actions.send.append(ChannelMessage.done.frame)
    }
    if isPeerDone { end(nil, .close, &actions) }
  }

  /// It is over. A complete channel does not fail any more.
  private mutating func end(_ error: SessionChannelError?, _ closing: Closing, _ actions: inout Actions) {
    guard !isOver else { return }
    let failure = flow.isComplete ? nil : error ?? .cancelled
    actions.closing = isAttached ? closing : .forget
    phase = .over(failure)
    flow.dispose()
    actions.events.formUnion([.taken, .over])
    if failure != nil { actions.events.formUnion([.opened, .readable, .writable]) }
  }
}

import P2PFSCore
@testable import P2PFSSession
import P2PFSWire

/// A channel whose peer sends anything, on connections that come and go: what it makes us keep stays within the windows,
/// it is over once, nothing is sent out of turn, and nothing traps.
///
/// The input is a sequence of steps of four bytes: the kind of event, a small number, and the distance of the peer's
/// positions from those that are right.
func fuzzChannelState(_ input: UnsafeBufferPointer<UInt8>) {
  let count = input.count
  var side = Side(isOurs: count & 1 == 0)
  for start in stride(from: 0, to: count - 3, by: 4) {
    let shift = Int64(Int16(bitPattern: UInt16(input[start + 2]) << 8 | UInt16(input[start + 3])))
    side.step(input[start], amount: UInt64(input[start + 1]), shift: shift)
    side.check()
  }
  side.finish()
}

private let zeros = [UInt8](repeating: 0, count: 65_536)
private let piece = Frame(copying: zeros)

private struct Side {
  private let sendPool = WindowPool()
  private let receivePool = WindowPool()
  private var state: ChannelState
  private var connection: UInt64 = 0
  private var isLinked = false
  /// Whether our opening message was sent on the present data channel.
  private var hasOpened = false
  private var isFinished = false
  private var overs = 0
  private var dequeued: [FrameSlice] = []

  init(isOurs: Bool) {
    state = ChannelState(
      number: 1, isOurs: isOurs, keepsMessages: false, sendPool: sendPool, receivePool: receivePool)
  }

  mutating func step(_ kind: UInt8, amount: UInt64, shift: Int64) {
    let flow = state.flow
    // Mostly near what is right, sometimes at the end of the range.
    func near(_ position: UInt64) -> UInt64 {
      if shift == Int64(Int16.max) { return UInt64(Int64.max) }
      return UInt64(max(0, Int64(position) + (shift >> 8) * (shift & 0xff)))
    }
    switch kind % 20 {
    case 0...1: enqueue(Int(amount) * 256)
    case 2: if amount > 250 { finishSending() }
    case 3...4: receive(.credit(consumed: near(flow.sent / 2), limit: near(flow.sent &+ (amount << 12))))
    case 5...6:
      receive(
        .open(
          .init(
            number: amount == 0 ? 2 : 1, isKnown: true, keepsMessages: amount == 1, received: near(flow.sent),
            consumed: near(flow.sent / 2), limit: near(flow.sent))))
    case 7...9: receive(.data(position: near(flow.received), FrameSlice(piece, 0..<Int(amount) * 128)))
    case 10: if amount > 200 { receive(.end(position: near(flow.received))) }
    case 11: if amount > 250 { receive(.done) }
    case 12: if amount > 252 { receive(.reset(.failed, "x")) }
    case 13: if case .piece(let piece)? = state.dequeue() { dequeued.append(piece) }
    case 14: consume(Int(amount))
    case 15: if amount > 200, dequeued.isEmpty { perform(state.consumeEnd()) }
    case 16: perform(state.accept())
    case 17: if amount < 100 { detach(byPeer: amount == 0) }
    case 18: attach()
    default: if amount < 50 { perform(state.count(Double(amount) / 10)) } else if amount == 255 { reset() }
    }
  }

  mutating func check() {
    let flow = state.flow
    precondition(flow.consumed <= flow.received)
    precondition(flow.received - flow.consumed <= Limits.Channel.widestWindow + 1, "more than a window came in")
    let kept = flow.unacknowledged.reduce(0) { $0 + UInt64($1.count) }
    precondition(kept <= Limits.Channel.widestWindow, "more than a window is kept")
    precondition(state.isAttached == isLinked, "the data channel is not what the state says")
    precondition(overs == (state.isOver ? 1 : 0), "it is over not once")
    precondition(!flow.isComplete || state.failure == nil, "a complete channel has failed")
  }

  mutating func finish() {
    perform(state.fail(.peerGone))
    check()
    precondition(
      sendPool.take(Limits.Channel.windowPool) && receivePool.take(Limits.Channel.windowPool),
      "a window was not given back")
  }

  private mutating func enqueue(_ size: Int) {
    guard !isFinished, !state.isOver else { return }
    let frame = ChannelMessage.dataFrame(capacity: size)
    zeros.withUnsafeBytes { frame.write(UnsafeRawBufferPointer(rebasing: $0[..<size])) }
    if case .sendNow = state.enqueue(frame) { send(frame) }
  }

  private mutating func finishSending() {
    isFinished = true
    if let end = state.finish() { send(end) }
  }

  private mutating func consume(_ count: Int) {
    for piece in dequeued.prefix(count) { if let credit = state.consume(piece) { send(credit) } }
    dequeued.removeFirst(min(count, dequeued.count))
  }

  private mutating func attach() {
    connection += 1
    guard let actions = state.attach(connection: connection) else { return precondition(state.isOver) }
    (isLinked, hasOpened) = (true, false)
    perform(actions)
  }

  private mutating func detach(byPeer: Bool) { perform(state.detached(byPeer: byPeer)) }

  private mutating func reset() { perform(state.reset(.cancelled, "")) }

  private mutating func receive(_ message: ChannelMessage) {
    guard isLinked else { return }
    do { perform(try state.receive(message, isQueueEmpty: true)) } catch {
      // What breaks the rules ends the connection.
      detach(byPeer: false)
    }
  }

  private mutating func perform(_ actions: ChannelState.Actions) {
    for frame in actions.send { send(frame) }
    switch actions.closing {
    case .none: break
    case .forget, .close, .abort: isLinked = false
    }
    if actions.events.contains(.over) { overs += 1 }
  }

  private mutating func send(_ frame: Frame) {
    precondition(isLinked, "sent without a data channel")
    guard let message = try? ChannelMessage(parsing: frame) else { preconditionFailure("a message does not decode") }
    if case .open = message {
      precondition(!hasOpened, "opened twice")
      hasOpened = true
    }
    precondition(hasOpened, "sent before the opening message")
  }
}

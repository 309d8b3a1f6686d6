import P2PFSCore
@testable import P2PFSSession
import P2PFSWire

/// A channel whose peer says anything: what it makes us keep stays within the windows, and nothing traps.
///
/// The input is a sequence of steps of four bytes: what happens, a small number, and where the peer's positions lie
/// from those that are right.
func fuzzChannelState(_ input: UnsafeBufferPointer<UInt8>) {
  let heard = Frame(copying: zeros)
  let (sendPool, receivePool) = (WindowPool(), WindowPool())
  var state = ChannelState(
    number: 1, keepsMessages: false, isKnownToPeer: input.count & 1 == 0, sendPool: sendPool, receivePool: receivePool)
  var taken: [FrameSlice] = []
  do {
    for start in stride(from: 0, to: input.count - 3, by: 4) {
      let (step, amount) = (input[start], UInt64(input[start + 1]))
      let shift = Int64(Int16(bitPattern: UInt16(input[start + 2]) << 8 | UInt16(input[start + 3])))
      // Mostly near what is right, sometimes at the end of the range.
      func near(_ position: UInt64) -> UInt64 {
        if shift == Int64(Int16.max) { return UInt64(Int64.max) }
        return UInt64(max(0, Int64(position) + (shift >> 8) * (shift & 0xff)))
      }
      switch step % 12 {
      case 0...1:
        let size = Int(amount) * 256
        if state.endSent == nil, state.hasRoom(for: size) {
          let frame = ChannelMessage.dataFrame(capacity: size)
          zeros.withUnsafeBytes { frame.write(UnsafeRawBufferPointer(rebasing: $0[..<size])) }
          state.say(frame)
        }
      case 2: if amount > 250 { _ = state.sayEnd() }
      case 3...4: try state.credit(consumed: near(state.sent / 2), limit: near(state.sent &+ (amount << 12)))
      case 5:
        let received = near(state.sent)
        _ = try state.opened(
          .init(
            number: 1, isKnown: true, keepsMessages: false, received: received, consumed: near(state.sent / 2),
            limit: near(state.sent)))
      case 6...8:
        let piece = FrameSlice(heard, 0..<Int(amount) * 128)
        _ = try state.heard(piece, at: near(state.received))
      case 9: if amount > 250 { _ = try state.heardEnd(at: near(state.received)) }
      case 10:
        if case .piece(let piece)? = state.take() { taken.append(piece) }
        _ = state.opening
      default:
        if amount > 250, taken.isEmpty, state.consumeEnd() != nil { precondition(state.isReceivingComplete) }
        for piece in taken.prefix(Int(amount)) {
          if case .credit(let consumed, let limit)? = state.consume(piece) { precondition(consumed <= limit) }
        }
        taken.removeFirst(min(Int(amount), taken.count))
      }
      precondition(state.consumed <= state.received)
      precondition(state.received - state.consumed <= Limits.Channel.widestWindow + 1, "more than a window came in")
    }
    let kept = state.unconfirmed.reduce(0) { $0 + UInt64($1.count) }
    precondition(kept <= Limits.Channel.widestWindow, "more than a window is kept")
  } catch {
    // What breaks the rules ends the connection.
  }
  state.dispose()
  precondition(
    sendPool.take(Limits.Channel.windowPool) && receivePool.take(Limits.Channel.windowPool),
    "a window was not given back")
}

private let zeros = [UInt8](repeating: 0, count: 65_536)

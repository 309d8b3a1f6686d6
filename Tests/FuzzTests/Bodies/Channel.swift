import P2PFSCore
@testable import P2PFSSession
import P2PFSWire

/// Two sides of a channel, and connections that are cut at any moment: each hears what the other says, once, in order
/// and to the end.
///
/// The input is a sequence of steps of two bytes: what happens, and how much of it.
func fuzzChannel(_ input: UnsafeBufferPointer<UInt8>) {
  var pair = Pair()
  for start in stride(from: 0, to: input.count - 1, by: 2) { pair.step(input[start] % 16, Int(input[start + 1])) }
  pair.finish()
}

/// What is sent on one data channel of a connection, until it is delivered.
private final class Wire: LinkChannel {
  let label = "pipe"
  // The fuzzer has one thread.
  nonisolated(unsafe) var queue: [Frame] = []
  nonisolated(unsafe) var isClosed = false

  var queuedBytes: Int { queue.reduce(0) { $0 + $1.count } }
  func send(_ frame: Frame) { if !isClosed { queue.append(frame) } }
  func close() { isClosed = true }
  func abort(_ last: Frame) {
    send(last)
    close()
  }
  func attach(onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (Bool) -> Void) {}
}

/// A side: its channel, and how much its program has said and heard. The byte at each place tells the place.
private struct Side {
  var channel: SessionChannel?
  var wire: Wire?
  var said = 0
  var heard = 0
  var isFinished = false
  var isAtEnd = false
  var isAccepted = false
  var unconsumed: [FrameSlice] = []

  static func byte(at place: Int) -> UInt8 { UInt8(truncatingIfNeeded: place &* 31 &+ place >> 8) }

  mutating func say(_ count: Int) {
    guard let channel, !isFinished else { return }
    let frame = SessionChannel.piece(capacity: count)
    let bytes = (0..<count).map { Side.byte(at: said + $0) }
    bytes.withUnsafeBytes { frame.write($0) }
    guard let isSaid = try? channel.send(frame) else { preconditionFailure("a channel failed") }
    if isSaid { said += count }
  }

  mutating func sayEnd() {
    guard let channel else { return }
    isFinished = true
    channel.finish()
  }

  mutating func take(consuming: Bool) {
    guard let channel else { return }
    guard let arrival = try? channel.receive() else { preconditionFailure("a channel failed") }
    switch arrival {
    case .piece(let piece):
      precondition(!isAtEnd, "data behind the end")
      withExtendedLifetime(piece) {
        for byte in piece.bytes {
          precondition(byte == Side.byte(at: heard), "not what was said")
          heard += 1
        }
      }
      unconsumed.append(piece)
      if consuming { consume() }
    case .end:
      consume()
      isAtEnd = true
      channel.consumedEnd()
    case .nothing: break
    }
  }

  mutating func consume() {
    for piece in unconsumed { channel?.consumed(piece) }
    unconsumed = []
  }
}

private struct Pair {
  var opener: Side
  var other = Side()
  var connection: UInt64 = 0
  private let pools = (0..<4).map { _ in WindowPool() }

  init() {
    opener = Side()
    opener.isAccepted = true
    opener.channel = make(isOurs: true, 0)
  }

  private func make(isOurs: Bool, _ pool: Int) -> SessionChannel {
    let core = ChannelState(
      number: 1, isOurs: isOurs, keepsMessages: false, sendPool: pools[pool], receivePool: pools[pool + 1])
    return SessionChannel(name: "pipe", core: core) { _ in }
  }

  mutating func step(_ step: UInt8, _ amount: Int) {
    switch step {
    case 0...1: opener.say(amount * 64)
    case 2...3: other.say(amount * 64)
    case 4: if amount > 200 { opener.sayEnd() }
    case 5: if amount > 200 { other.sayEnd() }
    case 6...7: deliver(amount, toOther: true)
    case 8...9: deliver(amount, toOther: false)
    case 10: for _ in 0..<amount % 32 { opener.take(consuming: amount > 31) }
    case 11: for _ in 0..<amount % 32 { other.take(consuming: amount > 31) }
    case 12: opener.consume()
    case 13: other.consume()
    case 14: accept()
    default: if amount < 100 { cut() } else { connect() }
    }
  }

  /// Whatever happened: with a connection that lasts, everything arrives.
  mutating func finish() {
    opener.sayEnd()
    connect()
    for _ in 0..<100_000 {
      deliver(64, toOther: true)
      accept()
      if other.channel != nil { other.sayEnd() }
      deliver(64, toOther: false)
      for _ in 0..<64 {
        opener.take(consuming: true)
        other.take(consuming: true)
      }
      if opener.channel?.isComplete ?? false, other.channel?.isComplete ?? false { break }
    }
    precondition(opener.heard == other.said && other.heard == opener.said, "something is missing")
    precondition(opener.channel?.isComplete ?? false && other.channel?.isComplete ?? false, "it does not end")
    precondition(opener.channel?.failure == nil && other.channel?.failure == nil, "it failed")
  }

  private mutating func accept() {
    other.isAccepted = true
    other.channel?.accept()
  }

  private mutating func cut() {
    for side in [opener, other] {
      if let wire = side.wire { side.channel?.closed(wire, byPeer: false) }
    }
    (opener.wire, other.wire) = (nil, nil)
  }

  private mutating func connect() {
    cut()
    connection += 1
    (opener.wire, other.wire) = (Wire(), Wire())
    if let wire = opener.wire { opener.channel?.connect(wire, connection: connection) }
  }

  private mutating func deliver(_ count: Int, toOther: Bool) {
    guard let from = toOther ? opener.wire : other.wire, let to = toOther ? other.wire : opener.wire else { return }
    let frames = from.queue.prefix(count)
    from.queue.removeFirst(frames.count)
    for frame in frames {
      guard let message = try? ChannelMessage(parsing: frame) else { preconditionFailure("a message does not decode") }
      if toOther, case .open = message {
        // As the session does it: what the peer opens is known by its number.
        if other.channel == nil {
          other.channel = make(isOurs: false, 2)
          if other.isAccepted { other.channel?.accept() }
        }
        other.channel?.connect(to, connection: connection)
      }
      guard let channel = toOther ? other.channel : opener.channel else { preconditionFailure("nobody was opened") }
      do { try channel.received(message, from: to) } catch { preconditionFailure("refused: \(error)") }
    }
  }
}

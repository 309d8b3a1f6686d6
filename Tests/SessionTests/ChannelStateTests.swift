import P2PFSCore
import P2PFSWire
import Testing

@testable import P2PFSSession

/// The life of a channel, both of its sides as values: no connection, no clock.
@Suite struct ChannelStateTests {
  private typealias Events = ChannelState.Events

  /// One side, its messages that are on the way, and what was reported to its program.
  private struct Side {
    var state: ChannelState
    var wire: [Frame] = []
    var isAttached = false
    var events: Events = []
    var overs = 0
    var isAborted = false

    init(isOurs: Bool) {
      state = ChannelState(
        number: 1, isOurs: isOurs, keepsMessages: true, sendPool: WindowPool(), receivePool: WindowPool())
    }

    mutating func perform(_ actions: ChannelState.Actions) {
      wire += actions.send
      events.formUnion(actions.events)
      if actions.events.contains(.over) { overs += 1 }
      switch actions.closing {
      case .none: break
      case .forget, .close: isAttached = false
      case .abort(let last):
        if isAttached { wire = [last] }
        (isAttached, isAborted) = (false, true)
      }
    }

    mutating func send(_ bytes: [UInt8]) {
      let piece = ChannelMessage.dataFrame(capacity: bytes.count)
      bytes.withUnsafeBytes { piece.write($0) }
      if case .sendNow = state.enqueue(piece) { wire.append(piece) }
    }

    mutating func finish() { if let end = state.finish() { wire.append(end) } }

    /// Takes all input, to the end; returns its bytes.
    mutating func takeAll() -> [UInt8] {
      var bytes: [UInt8] = []
      while let arrival = state.dequeue() {
        guard case .piece(let piece) = arrival else {
          perform(state.consumeEnd())
          break
        }
        bytes += piece.bytes
        if let credit = state.consume(piece) { wire.append(credit) }
      }
      return bytes
    }
  }

  private var (opener, other) = (Side(isOurs: true), Side(isOurs: false))
  private var connection: UInt64 = 0

  /// A new connection; what was on the way on the one before is lost.
  private mutating func connect() {
    cut()
    connection += 1
    if let actions = opener.state.attach(connection: connection) {
      opener.isAttached = true
      opener.perform(actions)
    }
  }

  private mutating func cut() {
    if opener.isAttached { opener.perform(opener.state.detached(byPeer: false)) }
    if other.isAttached { other.perform(other.state.detached(byPeer: false)) }
    (opener.wire, other.wire) = ([], [])
  }

  /// Delivers what is on the way, and the answers to it.
  private mutating func deliver() throws {
    while !opener.wire.isEmpty || !other.wire.isEmpty {
      for frame in take(&opener.wire) {
        let message = try ChannelMessage(parsing: frame)
        // The session attaches the data channel when its first message tells which channel it carries.
        if case .open = message, let actions = other.state.attach(connection: connection) {
          other.isAttached = true
          other.perform(actions)
        }
        other.perform(try other.state.receive(message, isQueueEmpty: true))
      }
      for frame in take(&other.wire) {
        opener.perform(try opener.state.receive(ChannelMessage(parsing: frame), isQueueEmpty: true))
      }
    }
  }

  private func take(_ wire: inout [Frame]) -> [Frame] {
    defer { wire = [] }
    return wire
  }

  @Test mutating func `data follows the opening message at once, and is answered when the program accepts`() throws {
    opener.send([1])
    connect()
    opener.send([2])
    #expect(opener.wire.count == 3)
    try deliver()
    #expect(other.wire.isEmpty && !opener.state.isOpened && other.events == [.opened, .readable])
    #expect(other.takeAll() == [1, 2])
    other.perform(other.state.accept())
    try deliver()
    #expect(opener.state.isOpened && opener.events.contains(.opened))
    other.perform(other.state.accept())
    #expect(other.wire.isEmpty)
  }

  @Test mutating func `it is over on both sides when both know that all was consumed`() throws {
    other.perform(other.state.accept())
    connect()
    try deliver()
    opener.send([1])
    opener.finish()
    try deliver()
    #expect(other.takeAll() == [1])
    try deliver()
    #expect(opener.state.isTaken && !opener.state.isOver && opener.events.contains(.taken))
    other.finish()
    try deliver()
    #expect(opener.takeAll() == [])
    try deliver()
    for side in [opener, other] {
      #expect(side.state.isOver && side.overs == 1 && side.state.failure == nil && !side.isAttached)
    }
  }

  @Test(arguments: 0..<8) mutating func `it goes on after the loss of a connection at any step, and ends`(step: Int)
    throws
  {
    var (heard, heardBack) = ([UInt8](), [UInt8]())
    func cutAt(_ now: Int, _ test: inout Self) throws {
      guard now == step else { return try test.deliver() }
      test.connect()
      try test.deliver()
    }
    connect()
    try cutAt(0, &self)
    opener.send([1])
    try cutAt(1, &self)
    other.perform(other.state.accept())
    try cutAt(2, &self)
    heard += other.takeAll()
    other.send([9])
    try cutAt(3, &self)
    opener.send([2])
    opener.finish()
    other.finish()
    try cutAt(4, &self)
    heard += other.takeAll()
    try cutAt(5, &self)
    heardBack += opener.takeAll()
    try cutAt(6, &self)
    _ = (opener.takeAll(), other.takeAll())
    try cutAt(7, &self)
    #expect(heard == [1, 2] && heardBack == [9])
    for side in [opener, other] { #expect(side.state.isOver && side.overs == 1 && side.state.failure == nil) }
  }

  @Test mutating func `before the peer has opened again nothing is sent but the opening message`() throws {
    other.perform(other.state.accept())
    connect()
    try deliver()
    cut()
    other.send([1])
    opener.send([2])
    connect()
    #expect(opener.wire.count == 1)
    opener.send([3])
    #expect(opener.wire.count == 1 && other.wire.isEmpty)
    try deliver()
    #expect(opener.takeAll() == [1] && other.takeAll() == [2, 3])
  }

  @Test mutating func `an output that was sent before the program has accepted waits for that on each connection`()
    throws
  {
    connect()
    try deliver()
    other.send([1])
    connect()
    try deliver()
    #expect(opener.state.dequeue() == nil)
    other.perform(other.state.accept())
    try deliver()
    #expect(opener.takeAll() == [1])
  }

  @Test mutating func `a reset ends both sides, which still receive what had come`() throws {
    other.perform(other.state.accept())
    connect()
    opener.send([5])
    try deliver()
    opener.perform(opener.state.reset(.failed, "no space left"))
    #expect(opener.isAborted && opener.state.failure == .reset(.failed, "no space left"))
    try deliver()
    #expect(other.state.failure == .reset(.failed, "no space left") && other.overs == 1 && !other.isAttached)
    #expect(other.takeAll() == [5])
    // Nothing makes it go on.
    #expect(opener.state.attach(connection: 9) == nil && other.state.attach(connection: 9) == nil)
    for error in [SessionChannelError.peerGone, .cancelled] {
      let actions = other.state.fail(error)
      #expect(actions.events.isEmpty && actions.send.isEmpty)
    }
  }

  @Test mutating func `a data channel that the peer closes without a word has been given up`() throws {
    connect()
    try deliver()
    other.perform(other.state.detached(byPeer: true))
    #expect(other.state.failure == .reset(.cancelled, "") && other.overs == 1)
  }

  @Test mutating func `a channel of the peer that is not opened again in time is lost, one of ours waits`() throws {
    connect()
    try deliver()
    cut()
    for _ in 0..<Int(Limits.Channel.reopening) - 1 {
      other.perform(other.state.count(1))
      opener.perform(opener.state.count(1))
    }
    #expect(!other.state.isOver)
    other.perform(other.state.count(1))
    opener.perform(opener.state.count(1))
    #expect(other.state.failure == .reset(.lost, "") && !opener.state.isOver)
  }

  @Test mutating func `a complete side whose peer says nothing more is over after a while`() throws {
    other.perform(other.state.accept())
    connect()
    try deliver()
    opener.finish()
    other.finish()
    try deliver()
    _ = other.takeAll()
    try deliver()
    _ = opener.takeAll()
    // The acknowledgement and `done` of this side are lost without notice.
    opener.wire = []
    var seconds = 0.0
    while !opener.state.isOver, seconds < 60 {
      opener.perform(opener.state.count(0.5))
      seconds += 0.5
    }
    #expect(seconds == Limits.Channel.farewell && opener.state.failure == nil)
    #expect(!other.state.isOver)
  }

  @Test mutating func `a session that fails does not close the data channel alone`() throws {
    connect()
    guard case .forget = opener.state.fail(.peerGone).closing else { return #expect(Bool(false)) }
    var next = Side(isOurs: true)
    _ = next.state.attach(connection: 1)
    guard case .close = next.state.fail(.unavailable("")).closing else { return #expect(Bool(false)) }
  }

  @Test mutating func `an older connection does not take a channel away from a newer one`() {
    #expect(opener.state.attach(connection: 2) != nil)
    #expect(opener.state.attach(connection: 2) == nil && opener.state.attach(connection: 1) == nil)
    #expect(opener.state.attach(connection: 3) != nil)
    _ = opener.state.detached(byPeer: false)
    #expect(opener.state.attach(connection: 3) != nil)
  }

  private static let opening = ChannelMessage.Open(
    number: 1, isKnown: true, keepsMessages: true, received: 0, consumed: 0, limit: Limits.Channel.window)

  /// Messages that break the protocol for a channel that was opened by the peer, or by this side.
  private static let violations: [[ChannelMessage]] = [
    [.done], [.credit(consumed: 0, limit: 9)], [.end(position: 0)],
    [.data(position: 0, FrameSlice(Frame(copying: [1]), 0..<1))], [.open(opening), .open(opening)],
    [.open(.init(number: 2, isKnown: true, keepsMessages: true, received: 0, consumed: 0, limit: 0))],
    [.open(.init(number: 1, isKnown: true, keepsMessages: false, received: 0, consumed: 0, limit: 0))],
    [.open(opening), .credit(consumed: 1, limit: 9)], [.open(opening), .end(position: 5)],
    [.open(opening), .end(position: 0), .end(position: 1)],
  ]

  @Test(arguments: violations.indices, [true, false])
  func `messages out of turn break the protocol`(index: Int, isOurs: Bool) {
    var side = Side(isOurs: isOurs)
    if let actions = side.state.attach(connection: 1) { side.perform(actions) }
    #expect(throws: MalformedMessage.self) {
      for message in Self.violations[index] { _ = try side.state.receive(message, isQueueEmpty: true) }
    }
  }
}

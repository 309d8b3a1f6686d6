package import P2PFSCore
import Synchronization
package import P2PFSWire

/// An ordered, reliable, flow-controlled stream of bytes or messages to a program at the peer, in both directions.
///
/// It outlives the connections of its session: unacknowledged data is kept, and sent again on the next one. Each
/// direction ends by itself (`finish`, and `.end` from `receive`). The channel fails when either side resets it, and
/// when the peer stays away for longer than the session's timeout.
///
/// All methods are for any thread and never block. Callbacks come on the link's thread, or on the thread that caused
/// them; they must not block. All state is in `ChannelState`; this class has the lock, the data channel and the
/// callbacks.
package final class SessionChannel: Sendable {
  /// The result of `receive`.
  package enum Arrival {
    /// A piece of the stream, or one message. To be passed to `consumed` when the program is done with it.
    case piece(FrameSlice)
    /// The peer sends no more. To be followed by `consumedEnd`.
    case end
    /// Nothing at this moment: `onReadable` will be called.
    case nothing
  }

  struct State {
    var core: ChannelState
    /// The data channel that carries it, while `core` is attached.
    var link: (any LinkChannel)?
    var onReadable: (@Sendable () -> Void)?
    var onWritable: (@Sendable () -> Void)?
    var onOpened: [@Sendable () -> Void] = []
    var onTaken: [@Sendable () -> Void] = []
    var onOver: [@Sendable () -> Void] = []
  }

  /// What to call once the lock is free.
  struct Calls {
    var all: [@Sendable () -> Void] = []
    func make() { for call in all { call() } }
  }

  /// The name that its opener has chosen. If that is the peer, escape it before it is shown.
  package let name: String
  /// Whether pieces are messages, whose borders are kept.
  package let keepsMessages: Bool
  /// Whether this side opened it.
  package let isOurs: Bool
  let number: UInt64
  let state: Mutex<State>
  /// Tells the session that it is over. Once.
  private let forget: @Sendable (SessionChannel) -> Void

  init(name: String, core: ChannelState, forget: @escaping @Sendable (SessionChannel) -> Void) {
    self.name = name
    isOurs = core.isOurs
    keepsMessages = core.flow.keepsMessages
    number = core.flow.number
    self.forget = forget
    state = Mutex(State(core: core))
  }

  /// Makes an empty piece of at most `capacity` bytes, up to `Limits.Channel.piece`: to be filled behind what is in it.
  package static func piece(capacity: Int = Limits.Wire.data) -> Frame { ChannelMessage.dataFrame(capacity: capacity) }

  /// Sets the callbacks of the channel's one user. `onReadable` is called at once, since data may be here already.
  /// - Parameters:
  ///   - onReadable: `receive` has something after it had nothing: data, the end, or a failure.
  ///   - onWritable: `send` has room after it had none, or has failed.
  package func attach(onReadable: @escaping @Sendable () -> Void, onWritable: @escaping @Sendable () -> Void) {
    state.withLock { state in
      precondition(state.onReadable == nil, "a channel has one user")
      // The callbacks hold the user of the channel, who holds the channel.
      guard !state.core.isOver else { return }
      state.onReadable = onReadable
      state.onWritable = onWritable
    }
    onReadable()
  }

  /// Calls `body` once the peer's program has accepted a channel of ours, or it has failed; at once if that is so.
  package func whenOpened(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.core.isOpened { return true }
      state.onOpened.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Accepts a channel that the peer has opened. Data that it sends before is kept, within its first window.
  package func accept() {
    state.withLock { state in perform(state.core.accept(), &state) }.make()
  }

  /// Why it failed; nil if it did not.
  package var failure: SessionChannelError? { state.withLock { $0.core.failure } }

  // MARK: - Sending

  /// Sends a piece that was made with `piece`. It arrives, once and in order, unless the channel fails.
  /// - Returns: false if the window has no room for it now: it was not taken, and `onWritable` will be called.
  package func send(_ piece: Frame) throws(SessionChannelError) -> Bool {
    let result = state.withLock { state -> Result<Bool, SessionChannelError> in
      if let failure = state.core.failure { return .failure(failure) }
      // Queued under the lock, so that pieces leave in their order.
      switch state.core.enqueue(piece) {
      case .noRoom: return .success(false)
      case .sendNow: state.link?.send(piece)
      case .sendLater: break
      }
      return .success(true)
    }
    return try result.get()
  }

  /// There is no more to send; the other direction goes on.
  package func finish() {
    state.withLock { state in
      if let end = state.core.finish() { state.link?.send(end) }
    }
  }

  // MARK: - Receiving

  /// Receives the next piece.
  package func receive() throws(SessionChannelError) -> Arrival {
    let result = state.withLock { state -> Result<Arrival, SessionChannelError> in
      // Data that has arrived is received even after a failure.
      switch state.core.dequeue() {
      case .piece(let piece): return .success(.piece(piece))
      case .end: return .success(.end)
      case nil: break
      }
      if let failure = state.core.failure { return .failure(failure) }
      return .success(.nothing)
    }
    return try result.get()
  }

  /// Acknowledges a piece: the peer may forget it, and send as much more.
  package func consumed(_ piece: FrameSlice) {
    state.withLock { state in
      if let credit = state.core.consume(piece) { state.link?.send(credit) }
    }
  }

  /// Acknowledges the end, when the program is done with everything.
  package func consumedEnd() {
    state.withLock { state in perform(state.core.consumeEnd(), &state) }.make()
  }

  // MARK: - The end

  /// Whether everything sent was acknowledged in both directions.
  package var isComplete: Bool { state.withLock { $0.core.flow.isComplete } }

  /// Whether everything that the peer has sent was consumed, its end too.
  package var isReceivingComplete: Bool { state.withLock { $0.core.flow.isReceivingComplete } }

  /// Calls `body` once the peer's program has acknowledged everything, the end too, or it is over; at once if that is
  /// so.
  package func whenTaken(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.core.isTaken { return true }
      state.onTaken.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Calls `body` once it is over: complete, and the peer knows; or failed. At once if that is so already.
  ///
  /// A complete channel whose peer does not confirm that is over after `Limits.Channel.farewell` seconds.
  package func whenOver(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.core.isOver { return true }
      state.onOver.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Gives up, and tells the peer why. Nothing happens if it is over already.
  package func reset(_ code: ChannelMessage.ResetCode, _ reason: String = "") {
    state.withLock { state in perform(state.core.reset(code, reason), &state) }.make()
  }

  /// Fails it, without a message to the peer.
  func fail(_ error: SessionChannelError) {
    state.withLock { state in perform(state.core.fail(error), &state) }.make()
  }

  /// Counts time during which the session is connected: see `ChannelState.count`.
  func count(_ seconds: Double) {
    state.withLock { state in perform(state.core.count(seconds), &state) }.make()
  }

  // MARK: - Inside

  /// Carries out what the state has decided. Under the lock, so that messages leave in their order.
  /// - Returns: the callbacks to make without it.
  func perform(_ actions: ChannelState.Actions, _ state: inout State) -> Calls {
    for frame in actions.send { state.link?.send(frame) }
    switch actions.closing {
    case .none: break
    case .forget: state.link = nil
    case .close:
      state.link?.close()
      state.link = nil
    case .abort(let last):
      state.link?.abort(last)
      state.link = nil
    }
    return calls(for: actions.events, &state)
  }

  private func calls(for events: ChannelState.Events, _ state: inout State) -> Calls {
    var calls = Calls()
    guard !events.isEmpty else { return calls }
    let isOver = events.contains(.over)
    // First its place is given back: whoever is told that it is over may open the next one.
    if isOver { calls.all.append { [self] in forget(self) } }
    if events.contains(.opened) {
      calls.all += state.onOpened
      state.onOpened = []
    }
    if events.contains(.readable), let onReadable = state.onReadable { calls.all.append(onReadable) }
    if events.contains(.writable), let onWritable = state.onWritable { calls.all.append(onWritable) }
    if events.contains(.taken) {
      calls.all += state.onTaken
      state.onTaken = []
    }
    if isOver {
      calls.all += state.onOver
      // The callbacks hold the user of the channel, who holds the channel.
      (state.onReadable, state.onWritable, state.onOver, state.onOpened) = (nil, nil, [], [])
    }
    return calls
  }
}

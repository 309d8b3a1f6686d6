package import P2PFSCore
import Synchronization
package import P2PFSWire

/// An ordered, reliable, flow-controlled stream of bytes or messages to a program at the peer, in both directions.
///
/// It outlives the connections of its session: what the peer has not taken is kept, and sent again on the next one. It
/// ends in each direction by itself (`finish`, and `.end` from `receive`); it fails when either side resets it, and when
/// the peer stays away for longer than the session's timeout.
///
/// All methods are for any thread and never block. The two callbacks of `attach` come on the link's thread, or on the
/// thread of whoever caused them; they must not block.
///
/// The library's public channel has this name, too: whoever sees both calls this one `SessionChannel`.
package final class SessionChannel: Sendable {
  /// What `receive` finds.
  package enum Arrival {
    /// A piece of the stream, or one message. To be given to `consumed` when it was dealt with.
    case piece(FrameSlice)
    /// The peer will say no more. To be followed by `consumedEnd`.
    case end
    /// Nothing at this moment: `onReadable` will tell.
    case nothing
  }

  struct State {
    var core: ChannelState
    /// The data channel of the present connection.
    var link: (any LinkChannel)?
    /// Which connection of the session that is.
    var connection: UInt64 = 0
    /// Whether the peer has opened it on the present connection, so that all may be sent that its window allows.
    var isOpen = false
    /// Whether our opening message was sent on the present connection.
    var hasGreeted = false
    /// Ours: always. Opened by the peer: since our program has accepted it.
    var isAccepted: Bool
    var failure: SessionChannelError?
    var isDoneSent = false
    /// Seconds, while the session was connected, since the channel got or lost its data channel or has said `done`.
    var waited = 0.0
    var isPeerDone = false
    var isOver = false
    /// Whether a piece did not fit, so that the program waits for the window.
    var isBlocked = false
    var onReadable: (@Sendable () -> Void)?
    var onWritable: (@Sendable () -> Void)?
    var onOpened: [@Sendable () -> Void] = []
    var onTaken: [@Sendable () -> Void] = []
    var onOver: [@Sendable () -> Void] = []

    /// Whether what the program says may leave at once.
    var maySend: Bool { link != nil && hasGreeted && (isOpen || !core.isKnownToPeer) }
  }

  /// What to call once the lock is free.
  struct Calls {
    var all: [@Sendable () -> Void] = []
    func make() { for call in all { call() } }
  }

  /// What the opener calls it; of a channel that the peer opened it is the peer's word: escape it before it is shown.
  package let name: String
  /// Whether pieces are messages, whose borders are kept.
  package let keepsMessages: Bool
  /// Whether this side opened it.
  package let isOurs: Bool
  let number: UInt64
  let state: Mutex<State>
  /// Tells the session that it is over. Once.
  private let forget: @Sendable (SessionChannel) -> Void

  init(
    name: String, isOurs: Bool, core: ChannelState, forget: @escaping @Sendable (SessionChannel) -> Void
  ) {
    self.name = name
    self.isOurs = isOurs
    keepsMessages = core.keepsMessages
    number = core.number
    self.forget = forget
    state = Mutex(State(core: core, isAccepted: isOurs))
  }

  /// Makes an empty piece of at most `capacity` bytes, up to `Limits.Channel.piece`: to be filled behind what is in it.
  package static func piece(capacity: Int = Limits.Wire.data) -> Frame { ChannelMessage.dataFrame(capacity: capacity) }

  /// Says who is told. Once; it is called at once if there is something to receive already.
  /// - Parameters:
  ///   - onReadable: `receive` has something after it had nothing: data, the end, or a failure.
  ///   - onWritable: `send` has room after it had none, or has failed.
  package func attach(onReadable: @escaping @Sendable () -> Void, onWritable: @escaping @Sendable () -> Void) {
    state.withLock { state in
      precondition(state.onReadable == nil, "a channel has one user")
      state.onReadable = onReadable
      state.onWritable = onWritable
    }
    onReadable()
  }

  /// Calls `body` once the peer's program has accepted a channel of ours, or it has failed; at once if that is so.
  package func whenOpened(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.failure != nil || state.core.isKnownToPeer { return true }
      state.onOpened.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Accepts a channel that the peer has opened. What it sends before that is kept, within its first window.
  package func accept() {
    state.withLock { state in
      guard !state.isAccepted else { return }
      state.isAccepted = true
      guard state.isOpen, let link = state.link else { return }
      greet(&state)
      for frame in state.core.unconfirmed { link.send(frame) }
    }
  }

  /// Why it failed; nil if it did not.
  package var failure: SessionChannelError? { state.withLock { $0.failure } }

  // MARK: - Sending

  /// Sends a piece that was made with `piece`. What was accepted here arrives, once and in order, unless the channel
  /// fails.
  /// - Returns: false if the window has no room for it now: it was not taken, and `onWritable` will tell.
  package func send(_ piece: Frame) throws(SessionChannelError) -> Bool {
    let result = state.withLock { state -> Result<Bool, SessionChannelError> in
      if let failure = state.failure { return .failure(failure) }
      guard state.core.hasRoom(for: piece.count - ChannelMessage.header) else {
        state.isBlocked = true
        return .success(false)
      }
      state.core.say(piece)
      // Queued under the lock, so that pieces leave in their order.
      if state.maySend { state.link?.send(piece) }
      return .success(true)
    }
    return try result.get()
  }

  /// There is no more to send; the other direction goes on.
  package func finish() {
    state.withLock { state in
      guard state.failure == nil, let end = state.core.sayEnd() else { return }
      if state.maySend { state.link?.send(end) }
    }
  }

  // MARK: - Receiving

  /// Takes what has come in next.
  package func receive() throws(SessionChannelError) -> Arrival {
    let result = state.withLock { state -> Result<Arrival, SessionChannelError> in
      // What has arrived is received even if the rest never will.
      switch state.core.take() {
      case .piece(let piece): return .success(.piece(piece))
      case .end: return .success(.end)
      case nil: break
      }
      if let failure = state.failure { return .failure(failure) }
      return .success(.nothing)
    }
    return try result.get()
  }

  /// The program is done with a piece: the peer may send as much more, and forget it.
  package func consumed(_ piece: FrameSlice) {
    state.withLock { state in
      guard state.failure == nil, let credit = state.core.consume(piece) else { return }
      if state.maySend { state.link?.send(credit.frame) }
    }
  }

  /// The program has dealt with all that there was.
  package func consumedEnd() {
    let calls = state.withLock { state -> Calls in
      guard state.failure == nil, let credit = state.core.consumeEnd() else { return Calls() }
      if state.maySend { state.link?.send(credit.frame) }
      return settle(&state)
    }
    calls.make()
  }

  // MARK: - The end

  /// Whether everything said in either direction was taken.
  package var isComplete: Bool { state.withLock { $0.core.isComplete } }

  /// Whether everything that the peer has said was taken, its end too.
  package var isReceivingComplete: Bool { state.withLock { $0.core.isReceivingComplete } }

  /// Calls `body` once the peer's program has taken all that was said, the end too, or it is over; at once if that is so.
  package func whenTaken(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.isOver || state.core.isSendingComplete { return true }
      state.onTaken.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Calls `body` once it is over: complete, and the peer knows; or failed. At once if that is so already.
  ///
  /// Complete but without the peer's word of it counts as over after `Limits.Channel.farewell` seconds.
  package func whenOver(_ body: @escaping @Sendable () -> Void) {
    let isNow = state.withLock { state in
      if state.isOver { return true }
      state.onOver.append(body)
      return false
    }
    if isNow { body() }
  }

  /// Gives up, and tells the peer why. Nothing happens if it is over already.
  package func reset(_ code: ChannelMessage.ResetCode, _ reason: String = "") {
    let failure = code == .cancelled ? SessionChannelError.cancelled : SessionChannelError.reset(code, reason)
    fail(failure) { state in
      state.link?.abort(ChannelMessage.reset(code, reason).frame)
      state.link = nil
    }
  }

  /// Fails it without a word to the peer.
  func fail(_ error: SessionChannelError) { fail(error) { _ in } }

  private func fail(_ error: SessionChannelError, _ before: (inout State) -> Void) {
    let calls = state.withLock { state -> Calls in
      guard !state.isOver else { return Calls() }
      before(&state)
      return end(&state, error)
    }
    calls.make()
  }

  /// It is over. A complete channel does not fail any more.
  func end(_ state: inout State, _ error: SessionChannelError?) -> Calls {
    guard !state.isOver else { return Calls() }
    state.isOver = true
    // First what it holds is given back: whoever hears that it is over may open the next.
    var calls = Calls(all: [dispose] + state.onTaken + state.onOver)
    if !state.core.isComplete {
      state.failure = error ?? .cancelled
      calls.all += state.onOpened
      calls.all += [state.onReadable, state.onWritable].compactMap { $0 }
    }
    state.onTaken = []
    state.onOver = []
    state.onOpened = []
    // With the session the connection goes, by itself: the end of a channel alone would look as if it had been given up.
    if error != .peerGone { state.link?.close() }
    state.link = nil
    return calls
  }

  @Sendable private func dispose() {
    state.withLock { state in
      state.core.dispose()
      // The callbacks hold who uses the channel, who holds the channel.
      state.onReadable = nil
      state.onWritable = nil
    }
    forget(self)
  }

  /// After something was taken, here or there: says goodbye when all was, and is over when the peer has, too.
  func settle(_ state: inout State) -> Calls {
    guard state.core.isComplete, !state.isOver else { return Calls() }
    if !state.isDoneSent, state.maySend {
      state.isDoneSent = true
      state.waited = 0
      state.link?.send(ChannelMessage.done.frame)
    }
    return state.isPeerDone ? end(&state, nil) : Calls()
  }

  /// Counts time during which the session is connected. A channel that the peer has not opened again is over, and so is
  /// a complete one of which it does not say that it is: as long as the peer may need to hear once more what we have
  /// taken, on the next connection, we stay.
  func count(_ seconds: Double) {
    let calls = state.withLock { state in
      state.waited += seconds
      if state.link == nil, !isOurs, state.waited >= Limits.Channel.reopening {
        return end(&state, .reset(.lost, ""))
      }
      if state.link == nil || !state.isDoneSent { return Calls() }
      return state.waited >= Limits.Channel.farewell ? end(&state, nil) : Calls()
    }
    calls.make()
  }
}

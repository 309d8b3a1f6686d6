import P2PFSCore
import P2PFSSession
import Synchronization
import P2PFSWire

/// A conversation of this program with the one on the other computer: messages or a stream of bytes, in both
/// directions, in order, each exactly once.
///
/// One side opens it by a name (`Peer.open`), the other accepts it (`Peer.channels`, `Peer.onChannel`). What comes in
/// is the channel's sequence; both directions go on independently until each side has said `finish`:
/// ```swift
/// let channel = try await peer.open("echo")
/// try await channel.send("Hello, world!".utf8)
/// channel.finish()
/// for try await message in channel {
///   print(String(decoding: message, as: UTF8.self))
/// }
/// try await channel.close()
/// ```
/// It survives the loss of a connection: while the other computer is away, for no longer than the timeout, `send` and
/// the sequence wait.
///
/// **Back-pressure.** `send` returns when there is room on its way to the other program, and that is bounded: a sender
/// that is faster than the receiver is held. A message counts as received when the receiver asks for the next one.
///
/// All of it may be used from any task. Several that send take turns, and so do several that receive. A channel that
/// nobody holds any more is cancelled; after `finish`, or when it was received to its end, it delivers what it has to and
/// ends properly, and keeps its peer for that, five minutes at most.
///
/// Beside `import NIOCore`, which has a `Channel` too, write `P2PFS.Channel`.
public final class Channel: Sendable {
  /// What travels on a channel.
  public enum Kind: Sendable, Hashable {
    /// Messages, each of at most `largestMessage` bytes, which arrive as they were sent. Empty ones, too.
    case messages
    /// Bytes without borders: they arrive in chunks of any size but 0.
    case stream
  }

  /// Longest message, in bytes.
  public static let largestMessage = Limits.Channel.piece
  /// Longest name of a channel, in bytes of UTF-8.
  public static let longestName = Limits.Channel.name

  private struct State {
    var isFinished = false
    /// How many are sending, so that the end is said behind them.
    var senders = 0
    /// What was received last: the program is done with it when it asks for the next.
    var last: FrameSlice?

    /// Counts a sender in, unless the end was said.
    mutating func begin() -> Bool {
      if !isFinished { senders += 1 }
      return !isFinished
    }

    /// Counts it out again. Returns whether the end is to be said now.
    mutating func end() -> Bool {
      senders -= 1
      return isFinished && senders == 0
    }
  }

  /// What its opener calls it. The other computer's word, if that is who opened it: not to be shown as it is.
  public var name: String { transport.channel.name }
  /// What travels on it.
  public var kind: Kind { transport.channel.keepsMessages ? .messages : .stream }
  /// The other computer. A channel keeps it open.
  public let peer: Peer
  private let transport: AsyncChannel
  private let sending = AsyncMutex()
  private let receiving = AsyncMutex()
  private let state = Mutex(State())

  init(_ channel: SessionChannel, of peer: Peer) {
    self.peer = peer
    transport = AsyncChannel(channel)
  }

  deinit {
    let (isFinished, last) = state.withLock { ($0.isFinished, $0.last) }
    if isFinished || transport.channel.isReceivingComplete {
      transport.channel.finish()
      Channel.wind(up: transport, last: last, of: peer)
    } else {
      transport.channel.reset(.cancelled)
    }
  }

  // MARK: - Sending

  /// Sends a message, or bytes of the stream; returns when there is room for it on its way.
  ///
  /// What was sent arrives, unless the channel fails or is cancelled. In a stream it may have been sent in part when an
  /// error is thrown; there a sequence that makes its bytes as it goes is asked for them as there is room.
  /// - Throws: `.tooLarge` for a message longer than `largestMessage`; `.finished` behind `finish`; `.refused`, `.reset`,
  ///   `.gone`, `.closed` if the channel is over; `.cancelled` if it, or the task, was cancelled.
  public func send(_ bytes: some Sequence<UInt8>) async throws(PeerError) {
    guard let count = bytes.withContiguousStorageIfAvailable({ $0.count }) else { return try await send(each: bytes) }
    guard kind == .stream || count <= Channel.largestMessage else { throw .tooLarge }
    var offset = 0
    var isDone = kind == .stream && count == 0
    try await transmit {
      guard !isDone else { return nil }
      let end = kind == .messages ? count : Swift.min(count, offset + Limits.Wire.data)
      let piece = bytes.withContiguousStorageIfAvailable { Channel.piece($0[offset..<end]) }
      guard let piece else { preconditionFailure("the sequence's storage was contiguous before") }
      offset = end
      isDone = end == count
      return piece
    }
  }

  /// Sends what does not lie in memory in one place: in a stream a piece at a time, however long it is.
  private func send(each bytes: some Sequence<UInt8>) async throws(PeerError) {
    guard kind == .stream else {
      let message = ContiguousArray(bytes.prefix(Channel.largestMessage + 1))
      return try await send(message)
    }
    var iterator = bytes.makeIterator()
    try await transmit {
      let frame = SessionChannel.piece(capacity: Limits.Wire.data)
      let room = frame.spare
      var count = 0
      while count < Limits.Wire.data, let byte = iterator.next() {
        room[count] = byte
        count += 1
      }
      frame.count += count
      return count > 0 ? frame : nil
    }
  }

  /// Sends pieces until there are no more, and nothing of another task in between.
  private func transmit(_ next: () -> Frame?) async throws(PeerError) {
    guard state.withLock({ $0.begin() }) else {
      throw PeerError(.finished, "nothing can be sent behind the end of the channel")
    }
    defer { sent() }
    guard await sending.take() else { throw .cancelled }
    defer { sending.give() }
    while let piece = next() {
      do throws(SessionChannelError) { try await transport.send(piece) } catch { throw peer.failure(error) }
    }
  }

  private static func piece(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> Frame {
    let frame = SessionChannel.piece(capacity: bytes.count)
    frame.spare.copyBytes(from: bytes)
    frame.count += bytes.count
    return frame
  }

  /// Says that there is no more to send, behind what is being sent. The other program's sequence ends there; what it
  /// sends goes on. Returns at once; a second call changes nothing.
  public func finish() {
    let isNow = state.withLock { state in
      guard !state.isFinished else { return false }
      state.isFinished = true
      return state.senders == 0
    }
    if isNow { transport.channel.finish() }
  }

  private func sent() {
    if state.withLock({ $0.end() }) { transport.channel.finish() }
  }

  // MARK: - Receiving

  /// The next message or chunk; nil at the end.
  private func next() async throws(PeerError) -> Bytes? {
    guard await receiving.take() else { throw .cancelled }
    defer { receiving.give() }
    let last = state.withLock { state in
      defer { state.last = nil }
      return state.last
    }
    do throws(SessionChannelError) {
      let piece = try await transport.next(after: last)
      state.withLock { $0.last = piece }
      return piece.map(Bytes.init)
    } catch {
      throw peer.failure(error)
    }
  }

  // MARK: - The end

  /// Ends the channel properly: finishes, throws away what the other program still sends, and returns when both
  /// programs have received everything up to the other's end.
  ///
  /// So after it has returned without an error, what was sent was received. It waits as long as the other program goes
  /// on sending; if the task is cancelled, so is the channel.
  /// - Throws: as `send`.
  public func close() async throws(PeerError) {
    finish()
    do {
      while try await next() != nil {}
    } catch {
      cancel()
      throw error
    }
    do throws(SessionChannelError) {
      let channel = transport.channel
      try await channel.resetIfCancelled { () async throws(SessionChannelError) in try await channel.over() }
    } catch {
      throw peer.failure(error)
    }
  }

  /// Gives the channel up, in both directions and at once. The other program gets `.reset`, with the reason, of which
  /// it is told 400 bytes at most. Nothing happens if the channel is over.
  public func cancel(_ reason: String = "") {
    transport.channel.reset(.cancelled, reason)
  }

  /// Gives it up because the program that was to serve it has failed.
  func fail() { transport.channel.reset(.failed) }

  /// Lets a channel that the program has finished and let go of end by itself, but not for ever. Its peer, which the
  /// program may have let go of as well, is kept as long.
  private static func wind(up transport: AsyncChannel, last: FrameSlice?, of peer: Peer) {
    let draining = Task {
      var last = last
      while let piece = try? await transport.next(after: last) { last = piece }
    }
    Task {
      let channel = transport.channel
      await Peer.wait(for: [channel], within: .seconds(Limits.Library.delivering)) { $0.whenTaken($1) }
      await Peer.wait(for: [channel], within: .seconds(Limits.Library.windingUp)) { $0.whenOver($1) }
      draining.cancel()
      channel.reset(.cancelled)
      withExtendedLifetime(peer) {}
    }
  }
}

extension Channel: AsyncSequence {
  /// Iterates over what comes in. All iterators of a channel share it: each message goes to one of them.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let channel: Channel

    /// The next message, or chunk of the stream; nil when the other program has finished.
    /// - Throws: what `Channel.send` does when the channel is over before its end, after everything that had arrived.
    public mutating func next() async throws(PeerError) -> Bytes? { try await channel.next() }

    /// As `next()`.
    public mutating func next(isolation actor: isolated (any Actor)?) async throws(PeerError) -> Bytes? {
      try await channel.next()
    }
  }

  /// Starts to iterate.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(channel: self) }
}

extension Channel {
  /// Calls `body` with each message or chunk that comes in, one after the other and never two at a time: the next one
  /// comes when it has returned. For those who prefer callbacks to the sequence; not both.
  /// ```swift
  /// channel.onMessage { message in
  ///   print("\(message.count) bytes")
  /// } onEnd: { error in
  ///   print(error.map { "over: \($0)" } ?? "the other side has finished")
  /// }
  /// ```
  /// - Parameter onEnd: called once, last: with nil when the other program has finished.
  /// - Returns: the task that calls; cancel it to hear no more.
  @discardableResult
  public func onMessage(
    _ body: @escaping @Sendable (Bytes) async -> Void, onEnd: @escaping @Sendable (PeerError?) -> Void = { _ in }
  ) -> Task<Void, Never> {
    Task {
      do throws(PeerError) {
        while let message = try await next() { await body(message) }
        onEnd(nil)
      } catch {
        onEnd(error)
      }
    }
  }
}

extension SessionChannel {
  /// Waits for something of the channel, which is reset if the task is cancelled meanwhile.
  func resetIfCancelled(
    _ body: @Sendable () async throws(SessionChannelError) -> Void
  ) async throws(SessionChannelError) {
    let failure = await withTaskCancellationHandler { () async -> SessionChannelError? in
      do throws(SessionChannelError) {
        try await body()
        return nil
      } catch {
        return error
      }
    } onCancel: {
      reset(.cancelled)
    }
    if let failure { throw failure }
  }
}

import P2PFSCore
import Glibc
import NIOCore
import P2PFSSession
import Synchronization
import P2PFSWire

/// Transfers the bytes of one forwarded connection between a local socket and a channel to the peer.
///
/// Back-pressure: the socket is read only while the channel has room, and the channel only while less than
/// `Limits.Forward.highWater` bytes wait for the socket. The end of one direction is forwarded alone; a reset ends
/// both.
///
/// Everything runs on the loop, except the callbacks of the channel, which only set `wanted`: hence `@unchecked`.
final class ForwardedConnection: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let readable: UInt8 = 1
  private static let writable: UInt8 = 2

  private let peer: SessionChannel
  private let isTCP: Bool
  private let loop: any EventLoop
  /// Events of the channel that the loop has not handled yet.
  private let wanted = Atomic<UInt8>(0)
  private var state = CouplingState()
  /// nil once the socket is closed.
  private var context: ChannelHandlerContext?
  /// Data that was read while the peer's window had no room.
  private var unsent = CircularBuffer<Frame>()
  private var onOver: ((_ hasFailed: Bool) -> Void)?

  /// Couples a channel, as its only user, to the socket whose pipeline this handler is added to.
  /// - Parameters:
  ///   - isTCP: whether it is a TCP socket.
  ///   - onOver: called once, on the loop, when the channel is over.
  init(_ peer: SessionChannel, isTCP: Bool, onOver: @escaping (_ hasFailed: Bool) -> Void) {
    self.peer = peer
    self.isTCP = isTCP
    loop = ForwardLoop.loop
    self.onOver = onOver
  }

  // MARK: - The socket

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    // Weak: the channel keeps the callbacks, even if it is over by now.
    peer.attach(
      onReadable: { [weak self] in self?.wake(ForwardedConnection.readable) },
      onWritable: { [weak self] in self?.wake(ForwardedConnection.writable) })
    peer.whenOver { [self] in loop.execute { [self] in over() } }
    if context.channel.isActive { readMore() }
  }

  func channelActive(context: ChannelHandlerContext) { readMore() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var buffer = unwrapInboundIn(data)
    while buffer.readableBytes > 0 {
      let piece = SessionChannel.piece(capacity: min(buffer.readableBytes, Limits.Wire.data))
      let room = piece.spare.count
      buffer.withUnsafeReadableBytes { piece.write(UnsafeRawBufferPointer(rebasing: $0.prefix(room))) }
      buffer.moveReaderIndex(forwardBy: room)
      if !unsent.isEmpty || !say(piece) { unsent.append(piece) }
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) { readMore() }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .inputClosed? = event as? ChannelEvent { perform(state.socketEnded(hasUnsent: !unsent.isEmpty)) }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { pull() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    peer.reset(.failed, Connector.reason(error))
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    self.context = nil
    perform(state.socketClosed(hasUnsent: !unsent.isEmpty, isTCP: isTCP))
    pull()
  }

  // MARK: - The channel

  /// From any thread.
  private func wake(_ reason: UInt8) {
    guard wanted.bitwiseOr(reason, ordering: .acquiringAndReleasing).oldValue == 0 else { return }
    loop.execute { [self] in
      let reasons = wanted.exchange(0, ordering: .acquiringAndReleasing)
      if reasons & ForwardedConnection.writable != 0 { sayMore() }
      if reasons & ForwardedConnection.readable != 0 { pull() }
    }
  }

  /// Sends a piece to the peer; false if its window has no room.
  private func say(_ piece: Frame) -> Bool {
    // A failed channel accepts everything; `over` will follow.
    do { return try peer.send(piece) } catch { return true }
  }

  private func sayMore() {
    guard !unsent.isEmpty else { return }
    while let piece = unsent.first {
      guard say(piece) else { return }
      unsent.removeFirst()
    }
    perform(state.said())
    readMore()
  }

  private func readMore() {
    if state.mayRead(hasUnsent: !unsent.isEmpty) { context?.read() }
  }

  /// Writes data of the peer while the socket accepts it.
  private func pull() {
    var hasWritten = false
    defer { if hasWritten { flush() } }
    while context?.channel.isWritable ?? true {
      do {
        switch try peer.receive() {
        case .nothing: return
        case .end:
          // This flushes the data as well; nothing may be written after it.
          hasWritten = false
          return perform(state.peerEnded())
        case .piece(let piece):
          guard state.takesPieces, let context else { return peer.reset(.brokenPipe) }
          context.write(wrapOutboundOut(context.channel.allocator.buffer(bytes: piece.bytes)), promise: nil)
          peer.consumed(piece)
          hasWritten = true
        }
      } catch {
        return abort()
      }
    }
  }

  /// Flushes the written data, and resets the channel if that fails: one promise for all data of one `pull`.
  private func flush() {
    guard let context else { return }
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.whenFailure { [peer] _ in peer.reset(.brokenPipe) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
  }

  private func perform(_ action: CouplingState.Action) {
    switch action {
    case .nothing: break
    case .finish: peer.finish()
    case .consumeEnd: peer.consumedEnd()
    case .reset: peer.reset(.brokenPipe)
    case .resetWhenTaken: peer.whenTaken { [peer] in peer.reset(.brokenPipe) }
    case .flush:
      guard let context else { return }
      let written = context.eventLoop.makePromise(of: Void.self)
      written.futureResult.assumeIsolated().whenComplete { [self] result in
        switch result {
        case .success: perform(state.flushed())
        case .failure: peer.reset(.brokenPipe)
        }
      }
      context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
    case .shutDown:
      context?.close(mode: .output, promise: nil)
      peer.consumedEnd()
    }
  }

  // MARK: - The end

  /// The channel is over: complete, with the socket closed or about to be; or failed.
  private func over() {
    let hasFailed = peer.failure != nil
    if hasFailed { abort() }
    unsent = []
    onOver?(hasFailed)
    onOver = nil
  }

  /// Resets the local connection, as the other end was reset.
  private func abort() {
    guard let context else { return }
    SocketOptions.resetOnClose(context.channel)
    context.close(promise: nil)
  }
}

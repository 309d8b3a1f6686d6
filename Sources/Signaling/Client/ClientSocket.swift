import P2PFSCore
import Glibc
import NIOCore
import NIOWebSocket
import Synchronization

/// One client's WebSocket: the welcome, what comes after it, and the one reason why it ends.
///
/// `@unchecked Sendable` because everything but the mutex belongs to the event loop; public methods hop there.
final class ClientSocket: @unchecked Sendable {
  typealias Welcome = Result<(isHostThere: Bool, [IceServer]), SignalingError>

  private let loop: any EventLoop
  private let role: SignalMessage.Role
  private let patience: SignalTimeouts
  private let end = Mutex<SignalingError?>(nil)

  // On the loop.
  private var channel: (any Channel)?
  private var waiting: CheckedContinuation<Welcome, Never>?
  private var outcome: Welcome?
  private var early: [SignalMessage] = []
  private var receiver: ((SignalMessage) -> Bool)?
  private var finished: (() -> Void)?
  private var isOver = false
  private var pinging: RepeatedTask?
  private var awaitsPong: Scheduled<Void>?

  init(loop: any EventLoop, role: SignalMessage.Role, patience: SignalTimeouts) {
    self.loop = loop
    self.role = role
    self.patience = patience
  }

  /// Why the connection has ended; nil while it stands, and after a close of ours.
  var closeReason: SignalingError? { end.withLock { $0 } }

  /// Waits for the welcome, or for what came instead. Called once.
  func welcome() async -> Welcome {
    await withCheckedContinuation { continuation in
      loop.execute {
        if let outcome = self.outcome { continuation.resume(returning: outcome) } else { self.waiting = continuation }
      }
    }
  }

  /// Names who gets the messages, those that have come already first. `receive` says whether there was room.
  func attach(_ receive: @escaping @Sendable (SignalMessage) -> Bool, finished: @escaping @Sendable () -> Void) {
    loop.execute {
      self.receiver = receive
      self.finished = finished
      let early = self.early
      self.early = []
      for message in early { self.deliver(message) }
      if self.isOver { finished() }
    }
  }

  /// Takes a channel whose TCP stands, on the loop; false if it comes too late, or second of two address families.
  func adopt(_ channel: any Channel) -> Bool {
    guard !isOver, self.channel == nil else { return false }
    self.channel = channel
    return true
  }

  /// Whether TCP does not stand yet. On the loop.
  var isDialling: Bool { !isOver && channel == nil }

  /// Sends a message, from any thread. One that is too long is a bug of the caller.
  func send(_ message: SignalMessage) {
    loop.execute {
      guard let channel = self.channel, !self.isOver else { return }
      var buffer = channel.allocator.buffer(capacity: 256)
      message.encode(into: &buffer)
      precondition(buffer.readableBytes <= Limits.Signaling.message, "payloads are bounded by their senders")
      self.write(.binary, buffer)
    }
  }

  /// Closes with code 1000, from any thread: the server takes it as leaving for good.
  func close() {
    loop.execute {
      guard !self.isOver, let channel = self.channel else { return self.finish(nil) }
      var buffer = ByteBuffer()
      buffer.write(webSocketErrorCode: .normalClosure)
      self.finish(nil, closing: false)
      let frame = WebSocketFrame(fin: true, opcode: .connectionClose, maskKey: .random(), data: buffer)
      channel.writeAndFlush(frame, promise: nil)
      // The server answers and hangs up; one that does not is hung up on.
      channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
    }
  }

  /// The network has changed, or the peer fell silent: finds out at once whether the server is still reached, instead of
  /// at the next ping. From any thread.
  func probe() {
    loop.execute {
      guard !self.isOver, case .success = self.outcome, let channel = self.channel else { return }
      // Nothing can be sent from an address that is gone, and TCP would try for minutes.
      if let local = channel.localAddress, !local.isOfThisComputer {
        return self.finish(.closed("the network has changed"))
      }
      self.write(.ping, ByteBuffer())
      self.awaitPong(self.patience.probe)
    }
  }

  /// Breaks off without saying so, as a network that goes away does. From any thread.
  func abort(_ reason: SignalingError) { fail(reason) }

  /// A TCP connection could not be made; of no interest if another one stands. On the loop.
  func dialFailed(_ reason: SignalingError) { if isDialling { finish(reason) } }

  /// Ends it with a reason, from any thread; only the first counts.
  func fail(_ reason: SignalingError) {
    if loop.inEventLoop { finish(reason) } else { loop.execute { self.finish(reason) } }
  }

  private func finish(_ reason: SignalingError?, closing: Bool = true) {
    guard !isOver else { return }
    isOver = true
    end.withLock { $0 = reason }
    pinging?.cancel()
    awaitsPong?.cancel()
    if outcome == nil {
      let failure = Welcome.failure(reason ?? .closed("by this side"))
      outcome = failure
      waiting?.resume(returning: failure)
      waiting = nil
    }
    if closing { channel?.close(promise: nil) }
    finished?()
    receiver = nil
    finished = nil
  }

  /// Takes a frame, on the loop.
  func received(_ frame: WebSocketFrame) {
    guard !isOver else {
      if frame.opcode == .connectionClose { channel?.close(promise: nil) }
      return
    }
    guard frame.maskKey == nil, !frame.rsv1, !frame.rsv2, !frame.rsv3 else { return finish(.violation("a bad frame")) }
    // Whatever comes shows that the server lives.
    awaitsPong?.cancel()
    awaitsPong = nil
    switch frame.opcode {
    case .binary where frame.fin:
      guard let message = SignalMessage(frame.unmaskedData, role) else {
        return finish(.violation("not a message of the protocol"))
      }
      deliver(message)
    // A server that reads nothing gets no further ones: the latest alone would do (RFC 6455, section 5.5.3).
    case .ping: if unsent <= Limits.Signaling.pongs { write(.pong, frame.unmaskedData) }
    case .pong: break
    case .connectionClose:
      var data = frame.unmaskedData
      let code = data.readWebSocketErrorCode().map { Int(UInt16(webSocketErrorCode: $0)) } ?? 1005
      let text = data.readString(length: data.readableBytes) ?? ""
      finish(refusal(code, text), closing: false)
      let echo = WebSocketFrame(
        fin: true, opcode: .connectionClose, maskKey: .random(),
        data: frame.unmaskedData.getSlice(at: 0, length: min(2, frame.unmaskedData.readableBytes)) ?? ByteBuffer())
      if let channel {
        channel.writeAndFlush(echo).whenComplete { _ in channel.close(promise: nil) }
      }
    default: finish(.violation("a frame that is not binary, or in parts"))
    }
  }

  private func refusal(_ code: Int, _ text: String) -> SignalingError {
    if outcome == nil {
      if text == JoinRefusal.nobodyThere.sentence { return .nobodyThere }
      if text == JoinRefusal.occupied.sentence { return .roomOccupied }
      return .refused(printable(text))
    }
    return .closed(text.isEmpty ? "code \(code)" : printable(text))
  }

  private func deliver(_ message: SignalMessage) {
    switch message {
    case .welcome(let isHostThere, let servers):
      guard outcome == nil else { return finish(.violation("a second welcome")) }
      let welcome = Welcome.success((isHostThere, servers))
      outcome = welcome
      waiting?.resume(returning: welcome)
      waiting = nil
      startPinging()
    default:
      guard outcome != nil else { return finish(.violation("a message before the welcome")) }
      guard let receiver else {
        // Few can come before somebody listens, and none of them is long.
        guard early.count < 16 else { return finish(.violation("more messages than are read")) }
        return early.append(message)
      }
      if !receiver(message) { finish(.violation("more messages than are read")) }
    }
  }

  private func startPinging() {
    pinging = loop.scheduleRepeatedTask(initialDelay: TimeAmount(patience.ping), delay: TimeAmount(patience.ping)) {
      [weak self] _ in
      guard let self, !self.isOver else { return }
      self.write(.ping, ByteBuffer())
      if self.awaitsPong == nil { self.awaitPong(self.patience.pong) }
    }
  }

  private func awaitPong(_ seconds: Double) {
    awaitsPong?.cancel()
    awaitsPong = loop.scheduleTask(in: TimeAmount(seconds)) { [weak self] in
      self?.finish(.closed("it does not answer any more"))
    }
  }

  /// Bytes that the server has not taken yet.
  private var unsent: Int {
    channel.flatMap { try? $0.syncOptions?.getOption(.bufferedWritableBytes) } ?? 0
  }

  private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer) {
    guard unsent + data.readableBytes <= Limits.Signaling.backlog else {
      return finish(.closed("it takes nothing any more"))
    }
    channel?.writeAndFlush(WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data), promise: nil)
  }
}

/// Hands frames and errors of an upgraded channel to its socket.
final class ClientFrames: ChannelInboundHandler {
  typealias InboundIn = WebSocketFrame

  private let socket: ClientSocket

  init(_ socket: ClientSocket) { self.socket = socket }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) { socket.received(unwrapInboundIn(data)) }

  func channelInactive(context: ChannelHandlerContext) { socket.fail(.closed("the connection broke off")) }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    socket.fail(error is NIOWebSocketError ? .violation("a bad frame") : .closed(describe(error)))
  }
}

extension SocketAddress {
  /// Whether this computer has the address now: a socket can be bound to it.
  fileprivate var isOfThisComputer: Bool {
    var address = self
    address.port = 0
    let descriptor = Glibc.socket(address.protocol.rawValue, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return true }
    defer { Glibc.close(descriptor) }
    return address.withSockAddr { bind(descriptor, $0, socklen_t($1)) == 0 || errno != EADDRNOTAVAIL }
  }
}

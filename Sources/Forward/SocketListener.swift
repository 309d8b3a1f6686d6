import P2PFSCore
import Glibc
import Logging
import NIOCore
import NIOPosix

/// Accepts the connections of a listening socket while there is room for more.
final class SocketListener: Sendable {
  private let server: any NIOCore.Channel
  private let socket: ListeningSocket

  private init(_ server: any NIOCore.Channel, _ socket: ListeningSocket) {
    self.server = server
    self.socket = socket
  }

  /// Starts to accept on all of the sockets, or on none.
  /// - Parameters:
  ///   - slots: must have room before a connection is accepted.
  ///   - accepted: called on the loop with each connection, not active yet, and whether it is a TCP connection, to add
  ///     a `ForwardedConnection` to its pipeline; if it throws the connection is reset.
  static func start(
    _ sockets: [ListeningSocket], slots: @escaping @Sendable () -> ConnectionSlots,
    accepted: @escaping @Sendable (any NIOCore.Channel, _ isTCP: Bool) throws -> Void
  ) -> EventLoopFuture<[SocketListener]> {
    let loop = ForwardLoop.loop
    let starts = sockets.map { socket -> EventLoopFuture<SocketListener> in
      guard let descriptor = socket.giveAway() else {
        return loop.makeFailedFuture(ListeningSocket.Failure(address: socket.name, errno: EBADF))
      }
      return start(socket, descriptor, slots: slots, accepted: accepted)
    }
    return EventLoopFuture.whenAllComplete(starts, on: loop).flatMapThrowing { results in
      do { return try results.map { try $0.get() } } catch {
        for case .success(let listener) in results { listener.close() }
        for socket in sockets { socket.release() }
        throw error
      }
    }
  }

  private static func start(
    _ socket: ListeningSocket, _ descriptor: Int32, slots: @escaping @Sendable () -> ConnectionSlots,
    accepted: @escaping @Sendable (any NIOCore.Channel, _ isTCP: Bool) throws -> Void
  ) -> EventLoopFuture<SocketListener> {
    ServerBootstrap(group: ForwardLoop.loop)
      .serverChannelOption(.autoRead, value: false)
      .serverChannelOption(.maxMessagesPerRead, value: 1)
      .serverChannelOption(.backlog, value: Int32(Limits.Forward.backlog))
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptPacer(slots()))
        }
      }
      .childChannelOption(.autoRead, value: false)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(.maxMessagesPerRead, value: UInt(Limits.Forward.readsAtOnce))
      .childChannelOption(.recvAllocator, value: SocketOptions.receiveAllocator)
      .childChannelOption(.writeBufferWaterMark, value: SocketOptions.waterMark)
      .childChannelInitializer { [isTCP = socket.port != 0] child in
        child.eventLoop.makeCompletedFuture {
          do {
            if isTCP { try SocketOptions.prepareTCP(child) }
            try accepted(child, isTCP)
          } catch {
            SocketOptions.resetOnClose(child)
            throw error
          }
        }
      }
      .withBoundSocket(descriptor)
      .map { SocketListener($0, socket) }
  }

  /// The TCP port; 0 for a Unix socket.
  var port: UInt16 { socket.port }
  /// The address for the user.
  var name: String { socket.name }

  /// Stops listening; accepted connections continue.
  func close() {
    socket.release()
    server.close(promise: nil)
  }
}

/// Accepts one connection at a time, and none while there is no room. Used on the loop only.
private final class AcceptPacer: ChannelInboundHandler {
  typealias InboundIn = any NIOCore.Channel

  private let slots: ConnectionSlots
  private var context: ChannelHandlerContext?
  /// Paused after an error; a timer ends the pause.
  private var isPaused = false
  /// Whether the last attempt failed and was reported.
  private var isInTrouble = false

  init(_ slots: ConnectionSlots) { self.slots = slots }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) { next() }

  func channelReadComplete(context: ChannelHandlerContext) {
    if !isPaused { isInTrouble = false }
    next()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if !isInTrouble { slots.log.info("cannot accept connections for now: \(Connector.reason(error))") }
    isInTrouble = true
    guard !isPaused else { return }
    // Most likely out of descriptors: the same error would come again at once. After accept(2) fails NIO keeps its read
    // pending and spins on epoll. Setting `autoRead` to false (it already is) makes NIO drop the pending read.
    isPaused = true
    try? context.channel.syncOptions?.setOption(.autoRead, value: true)
    try? context.channel.syncOptions?.setOption(.autoRead, value: false)
    context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(Limits.Forward.acceptPause * 1000))) {
      [weak self] in
      self?.isPaused = false
      self?.next()
    }
  }

  private func next() {
    guard let context, !isPaused else { return }
    if slots.isFree {
      context.read()
    } else {
      slots.whenFree { [weak self] in self?.next() }
    }
  }
}

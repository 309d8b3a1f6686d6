import P2PFSCore
import Glibc
import NIOCore
import NIOPosix

/// Connects to the destinations of forwards.
enum Connector {
  /// Connects, within `Limits.Forward.connect` seconds. The socket reads nothing until `read` is called.
  /// - Parameters:
  ///   - isWide: whether the kernel may widen the receive buffer of a TCP connection.
  ///   - isWanted: called before another attempt.
  static func connect(
    to endpoint: Endpoint, isWide: Bool, isWanted: @escaping @Sendable () -> Bool
  ) -> EventLoopFuture<any NIOCore.Channel> {
    switch endpoint {
    case .unix(let path):
      return connect(path, until: .now() + .milliseconds(Int64(Limits.Forward.connect * 1000)), isWanted: isWanted)
    case .tcp(let host, let port):
      return
        bootstrap
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try SocketOptions.prepareTCP(channel)
            if !isWide { try SocketOptions.fixReceiveBuffer(channel) }
          }
        }
        .resolver(ConnectionResolver(ForwardLoop.loop))
        .connect(host: host, port: Int(port))
    }
  }

  /// O_PATH of open(2), which is behind _GNU_SOURCE.
  private static let path: Int32 = 0o10_000_000

  private static var bootstrap: ClientBootstrap {
    ClientBootstrap(group: ForwardLoop.loop)
      .connectTimeout(.milliseconds(Int64(Limits.Forward.connect * 1000)))
      .channelOption(.autoRead, value: false)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelOption(.maxMessagesPerRead, value: UInt(Limits.Forward.readsAtOnce))
      .channelOption(.recvAllocator, value: SocketOptions.receiveAllocator)
      .channelOption(.writeBufferWaterMark, value: SocketOptions.waterMark)
  }

  /// Connects to a Unix socket. If the backlog of the server is full a blocking connect(2) waits; a non-blocking one
  /// fails with EAGAIN, and no event tells when to try again.
  private static func connect(
    _ path: String, until deadline: NIODeadline, isWanted: @escaping @Sendable () -> Bool
  ) -> EventLoopFuture<any NIOCore.Channel> {
    let loop = ForwardLoop.loop
    let connection: EventLoopFuture<any NIOCore.Channel>
    if path.hasEscapedBytes {
      // SwiftNIO takes a path. The link in /proc of the open descriptor names exactly that socket.
      let socket = path.withPath { open($0, Connector.path | O_CLOEXEC) }
      guard socket >= 0 else { return loop.makeFailedFuture(IOError(errnoCode: errno, reason: "open")) }
      connection = bootstrap.connect(unixDomainSocketPath: "/proc/self/fd/\(socket)")
      connection.whenComplete { _ in close(socket) }
    } else {
      connection = bootstrap.connect(unixDomainSocketPath: path)
    }
    return connection.flatMapError { error in
      guard (error as? IOError)?.errnoCode == EAGAIN, NIODeadline.now() < deadline, isWanted() else {
        return loop.makeFailedFuture(error)
      }
      return loop.flatScheduleTask(in: .milliseconds(Int64(Limits.Forward.connectPause * 1000))) {
        connect(path, until: deadline, isWanted: isWanted)
      }.futureResult
    }
  }

  /// The reason of a failed connection, in a few words.
  static func reason(_ error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
      let reasons = error.connectionErrors.map { reason($0.error) }
      if let first = reasons.first(where: { $0 != reasons.last }) ?? reasons.last { return first }
      return (error.dnsAError ?? error.dnsAAAAError).map(reason) ?? "the name has no address"
    case let error as IOError where error.errnoCode == EAGAIN:
      return "too many connections wait there already, for \(Int(Limits.Forward.connect)) seconds"
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    case let error as NameLookup.Failure: return error.description
    case let error as NIOCore.ChannelError:
      if case .connectTimeout = error { return "no answer within \(Int(Limits.Forward.connect)) seconds" }
      return "the connection was closed"
    case SocketAddressError.unixDomainSocketPathTooLong: return "the path is too long for a socket"
    case let error as SocketAddressError.UnknownHost: return "the name \(error.host) is not known"
    default: return "\(error)"
    }
  }
}

/// Options of all sockets of forwarded connections.
enum SocketOptions {
  /// Reads one piece of a channel at a time.
  static let receiveAllocator = FixedSizeRecvByteBufferAllocator(capacity: Limits.Wire.data)
  static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(
    low: Limits.Forward.lowWater, high: Limits.Forward.highWater)

  /// Disables Nagle's algorithm, and enables keep-alive so that a dead computer at the other end is noticed. On the
  /// loop.
  static func prepareTCP(_ socket: any NIOCore.Channel) throws {
    let options = socket.syncOptions
    try options?.setOption(.tcpOption(.tcp_nodelay), value: 1)
    try options?.setOption(.socketOption(.so_keepalive), value: 1)
    for (name, value) in [
      (TCP_KEEPIDLE, Limits.Forward.keepAliveIdle), (TCP_KEEPINTVL, Limits.Forward.keepAliveInterval),
      (TCP_KEEPCNT, Limits.Forward.keepAliveProbes),
    ] {
      try options?.setOption(.tcpOption(.init(rawValue: name)), value: .init(value))
    }
  }

  /// Prevents the kernel from widening the receive buffer of a TCP connection. On the loop.
  static func fixReceiveBuffer(_ socket: any NIOCore.Channel) throws {
    try socket.syncOptions?.setOption(.socketOption(.so_rcvbuf), value: .init(Limits.Forward.receiveBuffer))
  }

  /// Makes closing a socket a reset: undelivered data is dropped, and a TCP peer gets RST (socket(7), SO_LINGER). On
  /// the loop.
  static func resetOnClose(_ socket: any NIOCore.Channel) {
    _ = (socket as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
  }
}

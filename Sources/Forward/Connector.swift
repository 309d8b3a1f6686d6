import Core
import Glibc
import NIOCore
import NIOPosix

/// Makes connections to what a forward leads to.
enum Connector {
  /// Connects, within `Limits.Forward.connect` seconds. The socket reads nothing until it is told to.
  static func connect(to endpoint: Endpoint) -> EventLoopFuture<any NIOCore.Channel> {
    let loop = ForwardLoop.loop
    let bootstrap = ClientBootstrap(group: loop)
      .connectTimeout(.milliseconds(Int64(Limits.Forward.connect * 1000)))
      .channelOption(.autoRead, value: false)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelOption(.maxMessagesPerRead, value: UInt(Limits.Forward.readsAtOnce))
      .channelOption(.recvAllocator, value: SocketOptions.receiveAllocator)
      .channelOption(.writeBufferWaterMark, value: SocketOptions.waterMark)
    switch endpoint {
    case .unix(let path): return bootstrap.connect(unixDomainSocketPath: path)
    case .tcp(let host, let port):
      return
        bootstrap
        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .channelOption(.socketOption(.so_rcvbuf), value: .init(Limits.Forward.receiveBuffer))
        .resolver(ConnectionResolver(loop))
        .connect(host: host, port: Int(port))
    }
  }

  /// Why a connection failed, in a few words.
  static func reason(_ error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
      let reasons = error.connectionErrors.map { reason($0.error) }
      if let first = reasons.first(where: { $0 != reasons.last }) ?? reasons.last { return first }
      return (error.dnsAError ?? error.dnsAAAAError).map(reason) ?? "the name has no address"
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    case let error as NameLookup.Failure: return error.description
    case let error as NIOCore.ChannelError:
      if case .connectTimeout = error { return "no answer within \(Int(Limits.Forward.connect)) seconds" }
      return "\(error)"
    default: return "\(error)"
    }
  }
}

/// What all sockets of forwarded connections are set to.
enum SocketOptions {
  /// A piece of a channel at a time.
  static let receiveAllocator = FixedSizeRecvByteBufferAllocator(capacity: Limits.Wire.data)
  static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(
    low: Limits.Forward.lowWater, high: Limits.Forward.highWater)

  /// Makes the close of a socket a reset: what was not delivered is dropped, and a TCP peer gets RST (socket(7),
  /// SO_LINGER). On the loop.
  static func resetOnClose(_ socket: any NIOCore.Channel) {
    _ = (socket as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
  }
}

import P2PFSCore
import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// A signaling server: rooms over WebSocket, STUN over UDP at the same port, nothing on disk.
///
/// All of it runs on one thread: it relays a few small messages a meeting, and one core carries thousands of them
/// a second.
package final class SignalServer: Sendable {
  /// The port that it listens on, TCP and UDP.
  package let port: UInt16
  private let relay: Relay
  private let listener: any Channel
  private let datagrams: (any Channel)?
  private let ticking: RepeatedTask

  private init(
    port: UInt16, relay: Relay, listener: any Channel, datagrams: (any Channel)?, ticking: RepeatedTask
  ) {
    self.port = port
    self.relay = relay
    self.listener = listener
    self.datagrams = datagrams
    self.ticking = ticking
  }

  /// Starts a server; it answers when this returns. Throws what keeps it from listening: `SignalServerError`.
  package static func start(_ configuration: Configuration) async throws(SignalServerError) -> SignalServer {
    let tls = try configuration.tlsContext()
    let hosts = configuration.host.map { [$0] } ?? ["::", "0.0.0.0"]
    var failure: (any Error)?
    for port in configuration.port.candidates {
      for host in hosts {
        do {
          return try await listen(configuration, tls, host, port)
        } catch {
          failure = error
          // Where there is no IPv6, IPv4 alone will do; a port that is taken is taken in both.
          guard hosts.count > 1, let error = error as? IOError,
            [EAFNOSUPPORT, EADDRNOTAVAIL, EPROTONOSUPPORT].contains(error.errnoCode)
          else { break }
        }
      }
    }
    throw .cannotListen(failure.map { describe($0) } ?? "no port was tried")
  }

  private static func listen(
    _ configuration: Configuration, _ tls: NIOSSLContext?, _ host: String, _ port: UInt16
  ) async throws -> SignalServer {
    let relay = Relay(configuration)
    var bootstrap = ServerBootstrap(group: SignalLoop.group)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      // What waits for a slow receiver is counted by us, so the kernel is to hold little of it.
      .childChannelOption(.socketOption(.so_sndbuf), value: SocketOptionValue(Limits.Signaling.message))
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try configure(channel, relay, tls) }
      }
    if host == "::" {
      bootstrap = bootstrap.serverChannelOption(.socket(SocketOptionLevel(IPPROTO_IPV6), IPV6_V6ONLY), value: 0)
    }
    let listener = try await bootstrap.bind(host: host, port: Int(port)).get()
    let bound = UInt16(truncatingIfNeeded: listener.localAddress?.port ?? 0)
    var datagrams: (any Channel)?
    if configuration.answersStun {
      var bootstrap = DatagramBootstrap(group: SignalLoop.group)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(StunResponder()) }
        }
      if host == "::" {
        bootstrap = bootstrap.channelOption(.socket(SocketOptionLevel(IPPROTO_IPV6), IPV6_V6ONLY), value: 0)
      }
      do {
        datagrams = try await bootstrap.bind(host: host, port: Int(bound)).get()
      } catch {
        try? await listener.close().get()
        throw error
      }
    }
    let answersStun = datagrams != nil
    let ticking = try await listener.eventLoop.submit {
      relay.stunPort = answersStun ? bound : nil
      return listener.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in relay.tick()
      }
    }.get()
    configuration.logger.debug("listening", metadata: ["address": "\(host)", "port": "\(bound)"])
    return SignalServer(port: bound, relay: relay, listener: listener, datagrams: datagrams, ticking: ticking)
  }

  /// Stops listening, tells everybody (close code 1001), and returns when all connections are closed: at most a
  /// second later.
  package func shutdown() async {
    ticking.cancel()
    try? await listener.close().get()
    try? await datagrams?.close().get()
    try? await listener.eventLoop.submit { [relay] in relay.shutDown() }.get()
    for _ in 0..<20 {
      let isEmpty = try? await listener.eventLoop.submit { [relay] in relay.isEmpty }.get()
      if isEmpty ?? true { return }
      try? await Task.sleep(for: .milliseconds(50))
    }
    try? await listener.eventLoop.submit { [relay] in relay.hangUp() }.get()
  }

  /// Builds the pipeline of one accepted connection: TLS, HTTP, and after the upgrade WebSocket.
  static func configure(_ channel: any Channel, _ relay: Relay, _ tls: NIOSSLContext?) throws {
    guard let connection = relay.accepted(channel) else { return channel.close(promise: nil) }
    // The closures below run on the channel's loop, which is the relay's.
    let bound = NIOLoopBound(connection, eventLoop: channel.eventLoop)
    let pipeline = channel.pipeline.syncOperations
    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
    let upgrader = NIOWebSocketServerUpgrader(
      maxFrameSize: Limits.Signaling.message,
      shouldUpgrade: { channel, head in
        channel.eventLoop.makeSucceededFuture(relay.requested(head, on: bound.value) ? HTTPHeaders() : nil)
      },
      upgradePipelineHandler: { channel, _ in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ServerSocket(relay, bound.value))
          relay.upgraded(bound.value)
        }
      })
    let answer = HTTPAnswer(connection)
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderListSize = Limits.Signaling.httpHead
    limits.maxHeaderFieldSize = Limits.Signaling.httpHead
    let removal = NIOLoopBound(answer, eventLoop: channel.eventLoop)
    try pipeline.configureHTTPServerPipeline(
      withPipeliningAssistance: false,
      withServerUpgrade: (
        upgraders: [upgrader],
        completionHandler: { $0.pipeline.syncOperations.removeHandler(removal.value, promise: nil) }
      ),
      withErrorHandling: true, withOutboundHeaderValidation: true, withEncoderConfiguration: .init(),
      withDecoderLimitConfiguration: limits)
    try pipeline.addHandler(answer)
  }
}

/// Why a server does not start.
package enum SignalServerError: Error, Equatable, CustomStringConvertible {
  /// The address or port cannot be had.
  case cannotListen(String)
  /// The certificate or its key cannot be used.
  case certificate(String)

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .cannotListen(let reason): "The signaling server cannot listen: \(reason)"
    case .certificate(let reason): "The certificate or its key cannot be used: \(reason)"
    }
  }
}

/// What an error of NIO says, in a few words of a user's.
func describe(_ error: any Error) -> String {
  switch error {
  case let error as IOError: String(cString: strerror(error.errnoCode))
  case let error as SocketAddressError.UnknownHost: "the name \(printable(error.host)) is not known"
  case is SocketAddressError: "it is no address of this kind"
  case ChannelError.connectTimeout: "no answer"
  case is ChannelError: "the connection was closed"
  case NIOSSLError.uncleanShutdown: "the connection was cut"
  case NIOSSLError.failedToLoadCertificate: "a certificate cannot be read"
  case NIOSSLError.failedToLoadPrivateKey: "a private key cannot be read"
  case is NIOSSLError, is BoringSSLError: "TLS failed (\(printable("\(error)")))"
  default: printable("\(error)")
  }
}

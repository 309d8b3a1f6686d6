package import P2PFSCore
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// Enters rooms of signaling servers. A value without state: each connection stands for itself.
///
/// From dialling to the welcome it costs one round trip for TCP, one or two for TLS, one for the upgrade, whose
/// request says all that the server has to know, and which the welcome follows at once.
package struct SignalClient: Sendable {
  private let certificateAuthorities: String?
  private let patience: SignalTimeouts

  /// A client that verifies certificates by the system's roots, or the file that SSL_CERT_FILE names, and besides by
  /// the PEM file `certificateAuthorities`, for a server of one's own.
  package init(certificateAuthorities: String? = nil) {
    self.init(certificateAuthorities: certificateAuthorities, patience: SignalTimeouts())
  }

  /// A client with other waits than those of `Limits.Signaling`.
  init(certificateAuthorities: String? = nil, patience: SignalTimeouts) {
    self.certificateAuthorities = certificateAuthorities
    self.patience = patience
  }

  /// Takes a room as its host. `token` is what reclaims the room later: a host that comes back with it replaces its
  /// old connection, and hears of the guests that are there. If its connection breaks, the room is reserved for it, or
  /// free for anybody at once if it `isTransient`.
  package func host(
    _ server: ServerAddress, room: String, token: RoomToken, isTransient: Bool = false
  ) async throws(SignalingError) -> HostConnection {
    guard let room = Room(room) else { throw .refused(JoinRefusal.badRequest.sentence) }
    let (socket, _, servers) = try await connect(server, Join(room: room, role: .host(token, isTransient: isTransient)))
    return HostConnection(socket, servers)
  }

  /// Enters a room as a guest. With nobody there it throws `nobodyThere` at once, or with `wait` goes in and waits.
  package func join(
    _ server: ServerAddress, room: String, wait: Bool = false
  ) async throws(SignalingError) -> GuestConnection {
    guard let room = Room(room) else { throw .refused(JoinRefusal.badRequest.sentence) }
    let (socket, isHostThere, servers) = try await connect(server, Join(room: room, role: .guest(waits: wait)))
    return GuestConnection(socket, isHostThere: isHostThere, servers)
  }

  /// Enters a room. Where nobody has said that a server speaks in clear, it is asked by TLS first, and what it is asked
  /// stands in no packet that others can read if it has a certificate, be that good or bad.
  private func connect(
    _ server: ServerAddress, _ join: Join
  ) async throws(SignalingError) -> (ClientSocket, isHostThere: Bool, [IceServer]) {
    guard server.scheme == .ws, server.isSchemeAssumed else { return try await dial(server, join) }
    do { return try await dial(server.secured, join) } catch {
      guard case .notASignalingServer(SignalingError.noTLS) = error else { throw error }
    }
    return try await dial(server, join)
  }

  /// Dials, upgrades and waits for the welcome: `Limits.Signaling.answer` for all of it.
  private func dial(
    _ server: ServerAddress, _ join: Join
  ) async throws(SignalingError) -> (ClientSocket, isHostThere: Bool, [IceServer]) {
    let tls = server.scheme == .wss ? try tlsContext() : nil
    let loop = SignalLoop.group.next()
    let socket = ClientSocket(loop: loop, role: join.signalRole, patience: patience)
    let deadline = loop.scheduleTask(in: TimeAmount(patience.answer)) {
      socket.fail(.timedOut)
    }
    let patience = patience
    let dial = { @Sendable in Self.dial(server, join, tls, socket, loop, patience) }
    dial()
    let again = loop.scheduleRepeatedTask(initialDelay: TimeAmount(patience.dial), delay: TimeAmount(patience.dial)) {
      if socket.isDialling { dial() } else { $0.cancel() }
    }
    defer { again.cancel() }
    let welcome = await withTaskCancellationHandler {
      await socket.welcome()
    } onCancel: {
      socket.fail(.closed("cancelled"))
    }
    deadline.cancel()
    let (isHostThere, servers) = try welcome.get()
    return (socket, isHostThere, servers)
  }

  /// Begins one TCP connection; the first that stands is taken.
  private static func dial(
    _ server: ServerAddress, _ join: Join, _ tls: NIOSSLContext?, _ socket: ClientSocket, _ loop: any EventLoop,
    _ patience: SignalTimeouts
  ) {
    let bootstrap = ClientBootstrap(group: loop)
      .connectTimeout(TimeAmount(patience.answer))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try Self.configure(channel, server, join, tls, socket) }
      }
    bootstrap.connect(host: server.host, port: Int(server.port)).whenFailure { error in
      socket.dialFailed(.unreachable(Self.reason(error)))
    }
  }

  private func tlsContext() throws(SignalingError) -> NIOSSLContext {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    if let file = getenv("SSL_CERT_FILE") { configuration.trustRoots = .file(String(cString: file)) }
    if let certificateAuthorities { configuration.additionalTrustRoots = [.file(certificateAuthorities)] }
    do { return try NIOSSLContext(configuration: configuration) } catch { throw .certificate(describe(error)) }
  }

  /// Builds the pipeline of one connection: TLS, HTTP, and after the upgrade WebSocket.
  static func configure(
    _ channel: any Channel, _ server: ServerAddress, _ join: Join, _ tls: NIOSSLContext?, _ socket: ClientSocket
  ) throws {
    let pipeline = channel.pipeline.syncOperations
    if let tls {
      // Without a name NIOSSL compares the certificate's addresses with the one that was dialled.
      let name = server.host.hasSuffix(".") ? String(server.host.dropLast()) : server.host
      try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: server.isAddress ? nil : name))
    }
    let upgrader = NIOWebSocketClientUpgrader(
      // A guest's payload grows by its number on the way to the host.
      maxFrameSize: Limits.Signaling.message + Limits.Signaling.framing,
      automaticErrorHandling: false,
      upgradePipelineHandler: { channel, _ in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ClientFrames(socket))
        }
      })
    let request = UpgradeRequest(server, join, socket)
    let removal = NIOLoopBound(request, eventLoop: channel.eventLoop)
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderListSize = Limits.Signaling.httpHead
    limits.maxHeaderFieldSize = Limits.Signaling.httpHead
    try pipeline.addHTTPClientHandlers(
      leftOverBytesStrategy: .forwardBytes, enableOutboundHeaderValidation: true, encoderConfiguration: .init(),
      decoderLimitConfiguration: limits,
      withClientUpgrade: (
        upgraders: [upgrader],
        completionHandler: { $0.pipeline.syncOperations.removeHandler(removal.value, promise: nil) }
      ))
    try pipeline.addHandler(request)
  }

  /// What keeps a TCP connection from being made, in short.
  private static func reason(_ error: any Error) -> String {
    guard let error = error as? NIOConnectionError else {
      return error is ChannelError ? "no answer" : describe(error)
    }
    if let attempt = error.connectionErrors.last { return describe(attempt.error) }
    return "the name \(printable(error.host)) is not known"
  }
}

extension Join {
  /// The role without what belongs to it.
  var signalRole: SignalMessage.Role {
    switch role {
    case .host: .host
    case .guest: .guest
    }
  }
}

import P2PFSCore
import NIOCore
import NIOHTTP1
import NIOSSL
import NIOTLS
import NIOWebSocket

/// Sends the request to upgrade as soon as TCP stands, or TLS and its name is right: the request has the host's token
/// in it. Reads the answer if it is not an upgrade.
final class UpgradeRequest: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  private let server: ServerAddress
  private let join: Join
  private let socket: ClientSocket

  init(_ server: ServerAddress, _ join: Join, _ socket: ClientSocket) {
    self.server = server
    self.join = join
    self.socket = socket
  }

  func channelActive(context: ChannelHandlerContext) {
    guard socket.adopt(context.channel) else { return context.close(promise: nil) }
    if server.scheme == .ws { request(context) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent else {
      return context.fireUserInboundEventTriggered(event)
    }
    // NIOSSL has verified the chain, and would take the address we dialled in place of the name. Whoever answers the
    // DNS's questions can have a certificate for an address.
    let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
    guard server.isAddress || certificate.map({ $0.isFor(server.host) }) ?? false else {
      return socket.fail(.certificateName(server.host))
    }
    request(context)
  }

  private func request(_ context: ChannelHandlerContext) {
    let isDefault = server.port == (server.scheme == .ws ? 80 : 443)
    var headers: HTTPHeaders = ["Host": isDefault ? server.urlHost : "\(server.urlHost):\(server.port)"]
    for (name, value) in join.fields { headers.add(name: name, value: value) }
    let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: server.path + join.path, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    // The head says it all.
    guard case .head(let head) = unwrapInboundIn(data) else { return }
    switch head.headers.first(name: Join.refusalField).map(JoinRefusal.init(rawValue:)) {
    case .some(.some(.nobodyThere)): socket.fail(.nobodyThere)
    case .some(.some(.occupied)): socket.fail(.roomOccupied)
    case .some(.some(let refusal)): socket.fail(.refused(refusal.sentence))
    case .some(.none): socket.fail(.refused("\(head.status.code) \(printable(head.status.reasonPhrase))"))
    case .none:
      socket.fail(.notASignalingServer("HTTP status \(head.status.code) \(printable(head.status.reasonPhrase))"))
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    socket.fail(Self.meaning(of: error, server.host))
  }

  /// What an error means before the WebSocket stands.
  private static func meaning(of error: any Error, _ host: String) -> SignalingError {
    switch error {
    case let error as NIOSSLExtraError
    where error == .failedToValidateHostname || error == .serverHostnameImpossibleToMatch:
      return .certificateName(host)
    case NIOSSLError.handshakeFailed(let reason):
      let text = "\(reason)"
      if text.contains("CERTIFICATE_VERIFY_FAILED") { return .certificate("nobody this machine trusts vouches for it") }
      if text.contains("WRONG_VERSION_NUMBER") { return .notASignalingServer(SignalingError.noTLS) }
      return .certificate(printable(text))
    case is HTTPParserError, is NIOHTTPClientUpgradeError, is NIOWebSocketUpgradeError:
      return .notASignalingServer("it does not speak HTTP as one")
    default: return .unreachable(describe(error))
    }
  }
}

import NIOCore
import NIOHTTP1
import NIOWebSocket

/// Answers the requests that do not become a WebSocket: /healthz, refusals, and what is nothing of ours.
final class HTTPAnswer: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let connection: Relay.Connection
  private var head: HTTPRequestHead?

  init(_ connection: Relay.Connection) { self.connection = connection }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): self.head = head
    // No request of ours has a body: whoever sends one is not listened to.
    case .body: context.close(promise: nil)
    case .end:
      guard let head else { return }
      self.head = nil
      answer(head, context)
    }
  }

  private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    if head.uri == "/healthz", connection.refusal == nil {
      return write(.ok, "ok\n", nil, context)
    }
    let isOurs = head.uri.hasPrefix(Join.pathPrefix) || head.uri == "/"
    // An upgrade that nobody judged was none of RFC 6455.
    let refusal = connection.refusal ?? (!isOurs ? .notFound : .notAnUpgrade)
    write(refusal.status, refusal.sentence + "\n", refusal, context)
  }

  private func write(
    _ status: HTTPResponseStatus, _ text: String, _ refusal: JoinRefusal?, _ context: ChannelHandlerContext
  ) {
    var headers: HTTPHeaders = [
      "Content-Type": "text/plain; charset=utf-8", "Content-Length": "\(text.utf8.count)", "Connection": "close",
      "Cache-Control": "no-store",
    ]
    if let refusal { headers.add(name: Join.refusalField, value: refusal.rawValue) }
    if refusal == .notAnUpgrade { headers.add(name: "Upgrade", value: "websocket") }
    context.write(
      wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers))), promise: nil)
    context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A request that cannot be upgraded is still answered; TLS and the network are not.
    if error is HTTPServerUpgradeErrors || error is NIOWebSocketUpgradeError { return }
    context.close(promise: nil)
  }
}

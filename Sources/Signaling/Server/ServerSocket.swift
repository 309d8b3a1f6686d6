import NIOCore
import NIOWebSocket

/// Hands the frames of one upgraded connection to the relay.
final class ServerSocket: ChannelInboundHandler {
  typealias InboundIn = WebSocketFrame

  private let relay: Relay
  private let connection: Relay.Connection

  init(_ relay: Relay, _ connection: Relay.Connection) {
    self.relay = relay
    self.connection = connection
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    relay.received(unwrapInboundIn(data), on: connection)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

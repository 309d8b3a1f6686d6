import P2PFSCore
import NIOCore

/// Answers STUN Binding requests on a UDP socket, and nothing else, so that cone NATs need no other server.
final class StunResponder: ChannelInboundHandler {
  typealias InboundIn = AddressedEnvelope<ByteBuffer>
  typealias OutboundOut = AddressedEnvelope<ByteBuffer>

  private var budget = TokenBucket(rate: Limits.Signaling.stunRate, burst: Limits.Signaling.stunRate, now: .now)

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let request = unwrapInboundIn(data)
    guard request.data.readableBytes <= Limits.Signaling.stunRequest, let port = request.remoteAddress.port,
      let address = request.remoteAddress.ipBytes,
      let answer = StunMessage.answer(
        to: request.data.readableBytesView, address: address, port: UInt16(truncatingIfNeeded: port)),
      budget.take(1, now: .now)
    else { return }
    context.write(
      wrapOutboundOut(AddressedEnvelope(remoteAddress: request.remoteAddress, data: ByteBuffer(bytes: answer))),
      promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) { context.flush() }

  /// An unreachable sender is told to us as an error of the socket, which means nothing here.
  func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

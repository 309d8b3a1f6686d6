import NIOCore

@testable import P2PFSSignaling

/// What comes over the WebSocket of a signaling server, from either end, and to its STUN port.
func fuzzSignal(_ input: UnsafeBufferPointer<UInt8>) {
  for role in [SignalMessage.Role.host, .guest] {
    guard let message = SignalMessage(ByteBuffer(bytes: input), role) else { continue }
    var again = ByteBuffer()
    message.encode(into: &again)
    precondition(SignalMessage(again, role) == message, "it reads differently the second time")
  }
  for address in [[UInt8](repeating: 1, count: 4), [UInt8](repeating: 2, count: 16)] {
    let answer = StunMessage.answer(to: input, address: address, port: 4_711)
    precondition((answer?.count ?? 0) <= 52, "an answer that is larger than promised")
  }
}

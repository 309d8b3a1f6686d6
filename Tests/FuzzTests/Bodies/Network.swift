@testable import P2PFSTransport

/// What the kernel says over rtnetlink: whole or cut, it is read within its bounds.
func fuzzNetwork(_ input: UnsafeBufferPointer<UInt8>) {
  let datagram = UnsafeRawBufferPointer(input)
  let tells = NetworkMessage.tellsOfChange(datagram)
  if let route = NetworkMessage.route(in: datagram) {
    precondition(input.count >= 28 && route.gateway.count <= 18 && route.source.count <= 16)
  } else if input.count < 16 {
    precondition(!tells)
  }
}

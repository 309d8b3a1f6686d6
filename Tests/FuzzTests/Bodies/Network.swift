@testable import P2PFSTransport

/// What the kernel says over rtnetlink: whole or cut, it is read within its bounds.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNetwork(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let datagram = UnsafeRawBufferPointer(start: bytes, count: count)
  let tells = NetworkMessage.tellsOfChange(datagram)
  if let route = NetworkMessage.route(in: datagram) {
    precondition(count >= 28 && route.gateway.count <= 18 && route.source.count <= 16)
  } else if count < 16 {
    precondition(!tells)
  }
  return 0
}

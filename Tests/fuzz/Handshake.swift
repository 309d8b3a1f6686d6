@testable import P2PFSPairing
import P2PFSTransport

/// The first bytes of a stranger: messages of the handshake, and of the protocol that opens data channels.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHandshake(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: bytes, count: count)
  if let message = HandshakeMessage(parsing: Array(input)) {
    precondition(HandshakeMessage(parsing: message.encoded) == message, "it reads differently the second time")
  }
  if case .open(_, let label, let name)? = try? DataChannelEstablishment(parsing: UnsafeRawBufferPointer(input)) {
    precondition(label.utf8.count <= 3 * count && name.utf8.count <= 3 * count)
  }
  return 0
}

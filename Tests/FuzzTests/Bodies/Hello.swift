import P2PFSCore
import P2PFSWire

/// The greeting, the first that either side reads of the other.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHello(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let frame = Frame(copying: UnsafeBufferPointer(start: bytes, count: count))
  var reader = Reader(frame)
  guard let hello = try? Hello(&reader) else { return 0 }
  precondition(hello.session.count == 16)
  var second = Reader(hello.encoded(), from: Header.length)
  precondition((try? Hello(&second))?.session == hello.session)
  return 0
}

import P2PFSCore
import P2PFSWire

/// The greeting, the first that either side reads of the other.
func fuzzHello(_ input: UnsafeBufferPointer<UInt8>) {
  let frame = Frame(copying: input)
  var reader = Reader(frame)
  guard let hello = try? Hello(&reader) else { return }
  precondition(hello.session.count == 16)
  var second = Reader(hello.encoded(), from: Header.length)
  precondition((try? Hello(&second))?.session == hello.session)
}

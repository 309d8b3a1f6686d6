import P2PFSCore
import P2PFSWire

/// Requests, as the exporter reads them: whatever decodes must encode, and mean the same when decoded again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRequest(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let frame = Frame(copying: UnsafeBufferPointer(start: bytes, count: count))
  var reader = Reader(frame)
  guard let operation: UInt8 = try? reader.integer(), let request = try? Request(operation: operation, &reader) else {
    return 0
  }
  let encoded = request.encoded()
  var second = Reader(encoded, from: Header.length)
  guard let again = try? Request(operation: request.operation.rawValue, &second) else {
    preconditionFailure("what was encoded does not decode")
  }
  let twice = again.encoded()
  withExtendedLifetime((encoded, twice)) {
    precondition(twice.bytes.elementsEqual(encoded.bytes), "decoded to something else")
  }
  return 0
}

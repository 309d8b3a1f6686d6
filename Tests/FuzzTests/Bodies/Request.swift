import P2PFSCore
import P2PFSWire

/// Requests, as the exporter reads them: whatever decodes must encode, and mean the same when decoded again.
func fuzzRequest(_ input: UnsafeBufferPointer<UInt8>) {
  let frame = Frame(copying: input)
  var reader = Reader(frame)
  guard let operation: UInt8 = try? reader.integer(), let request = try? Request(operation: operation, &reader) else {
    return
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
}

import P2PFSCore
import P2PFSWire

/// Messages on a channel between two programs: what decodes must encode, and mean the same when decoded again.
func fuzzChannelMessage(_ input: UnsafeBufferPointer<UInt8>) {
  let frame = Frame(copying: input)
  guard let message = try? ChannelMessage(parsing: frame) else { return }
  switch message {
  case .data(let position, let piece):
    precondition(position <= UInt64(Int64.max) && piece.count == input.count - ChannelMessage.header)
  case .open(let open):
    for position in [open.number, open.received, open.consumed, open.limit] {
      precondition(position <= UInt64(Int64.max))
    }
  case .reset(_, let text): precondition(text.unicodeScalars.count <= Limits.Channel.reason)
  case .credit(let one, let other): precondition(max(one, other) <= UInt64(Int64.max))
  case .end(let position): precondition(position <= UInt64(Int64.max))
  case .done: break
  }
  // A piece as long as no peer of ours would send is not encoded.
  if case .data(_, let piece) = message, piece.count > Limits.Channel.piece { return }
  let encoded = message.frame
  guard let again = try? ChannelMessage(parsing: encoded) else {
    preconditionFailure("what was encoded does not decode")
  }
  let twice = again.frame
  withExtendedLifetime((encoded, twice)) {
    precondition(twice.bytes.elementsEqual(encoded.bytes), "decoded to something else")
  }
}

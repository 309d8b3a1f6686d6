import P2PFSCore
import P2PFSWire

/// Messages as a client reads them: the header, and each kind of answer behind it.
func fuzzReply(_ input: UnsafeBufferPointer<UInt8>) {
  let frame = Frame(copying: input)
  var reader = Reader(frame)
  guard let header = try? Header(&reader) else { return }
  let reply = Reply(header, in: frame)
  if let attributes = try? reply.attributes() { precondition(attributes.size >= 0) }
  if let piece = try? reply.piece() { precondition(piece.offset >= 0 && piece.data.bytes.count == piece.data.count) }
  if let offset = try? reply.offset() { precondition(offset >= 0) }
  _ = try? reply.statistics()
  if let listing = try? reply.listing() {
    for entry in listing.entries where (try? Path.check(component: entry.name)) != nil {
      precondition(!entry.name.contains(UInt8(ascii: "/")) && entry.name.count <= Limits.Wire.name)
    }
  }
}

import P2PFSCore
import P2PFSWire

@testable import P2PFSTransfer

/// The messages of a transfer, in a row, against both sides' states: each is preceded by its length in two bytes.
func fuzzTransfer(_ input: UnsafeBufferPointer<UInt8>) {
  let frame = Frame(copying: input)
  var reader = Reader(frame)
  var offer = TransferMessage.Offer()
  (offer.files, offer.bytes, offer.tops) = (8, 1 << 40, 1)
  var sending = SendingState()
  sending.offer(offer)
  var receiving = ReceivingState()
  while let length: UInt16 = try? reader.integer(), let slice = try? reader.slice(min(Int(length), reader.remaining)) {
    guard let message = try? TransferMessage(parsing: slice) else { continue }
    let piece = message.piece
    let again = try? TransferMessage(parsing: FrameSlice(piece, ChannelMessage.header..<piece.count))
    guard let second = again?.piece else { preconditionFailure("it is not read again") }
    precondition(second.bytes.elementsEqual(piece.bytes))
    if let event = try? sending.heard(message) {
      switch event {
      case .accepted:
        let never = Timestamp(seconds: 0, nanoseconds: 0)
        for name in ["a", "b", "c"] {
          guard let path = try? Path(Array(name.utf8)) else { continue }
          _ = sending.announce(TransferEntry(.file(size: 1 << 33), mode: 0, modified: never, path: path))
        }
      case .check(let number), .want(let number, _, _): sending.settle(number)
      default: break
      }
    }
    if let event = try? receiving.heard(message) {
      switch event {
      case .offered: receiving.accept()
      case .entry(let number, let entry):
        if case .file(let size) = entry.kind {
          if number % 3 == 0 { receiving.check(number) } else { receiving.want(number, have: size / 2) }
        }
      case .begin(let number, _): if number % 2 == 0 { receiving.giveUp(number) }
      default: break
      }
    }
  }
}

import P2PFSCore
import P2PFSSession
import SystemPackage
import P2PFSWire

/// The parts of one append that have come so far, with the requests that brought them, which are answered together.
struct GatheredAppend {
  private(set) var parts: [FrameSlice] = []
  private var exchanges: [Exchange] = []
  private var count = 0

  /// Adds a part.
  /// - Throws: if it makes the append longer than `Limits.Wire.append`.
  mutating func add(_ part: FrameSlice, _ exchange: Exchange) throws(MalformedMessage) {
    // Parts without a byte count, too: no more of them than one system call takes.
    guard count + part.count <= Limits.Wire.append, parts.count < Limits.Export.appendParts else {
      throw MalformedMessage("an append of more than \(Limits.Wire.append) bytes")
    }
    count += part.count
    parts.append(part)
    exchanges.append(exchange)
  }

  /// Answers all parts with `error`, and forgets them.
  mutating func fail(_ error: Errno) {
    let failed = exchanges
    self = GatheredAppend()
    for exchange in failed { exchange.fail(error) }
  }

  /// Answers all parts with what was done, and forgets them. The last one first: when the answer to any of them is in
  /// the journal, so is that to the one which says what became of all.
  mutating func answer(_ appended: Appended) {
    let answered = exchanges
    self = GatheredAppend()
    for exchange in answered.reversed() {
      let frame = Frame.reply(to: exchange.header, body: Appended.length)
      appended.write(to: frame)
      exchange.reply(frame)
    }
  }
}

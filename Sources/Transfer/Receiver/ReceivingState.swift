import P2PFSCore
import P2PFSWire

/// What the receiver's side of a transfer has come to, without I/O.
///
/// ```
/// greeting ──hello──▶ greeted ──offer──▶ asking ──accept()──▶ receiving ──complete──▶ completed
/// ```
/// A file is `examined` when its entry has come; then it is wanted, checked or refused. Of a wanted one the contents
/// come, one file after the other, each from where it was asked for or from its start.
struct ReceivingState {
  /// What a message of the sender asks for.
  enum Event: Sendable {
    case greeted(TransferMessage.Hello)
    case offered(TransferMessage.Offer)
    /// To be answered by `want`, `check` or `refuse` if it is a file.
    case entry(number: UInt64, TransferEntry)
    case begin(number: UInt64, offset: Int64)
    /// Contents of the file that was begun, at `offset`.
    case data(number: UInt64, offset: Int64, FrameSlice)
    case end(number: UInt64, ContentHash)
    /// `isEcho`: the sender has stopped because of a problem that this side has named.
    case problem(TransferProblem, isEcho: Bool)
    case complete
  }

  enum Phase {
    case greeting, greeted, asking, receiving, completed
  }

  private enum File {
    case examined(size: Int64)
    case wanted(size: Int64, have: Int64)
    case checked
    case begun(size: Int64, position: Int64)
  }

  private(set) var phase = Phase.greeting
  private var offer = TransferMessage.Offer()
  private var files: [UInt64: File] = [:]
  /// The file whose contents come now.
  private var current: UInt64?
  private var entries: UInt64 = 0
  private var counts = TransferMessage.Offer()
  private var names = OfferedNames(.init())
  /// Files under way that this side has given up on, of which the sender may not know yet.
  private var givenUp: Set<UInt64> = []
  private var problems = 0
  /// Those of them that are not about an entry.
  private var skipped: UInt64 = 0

  // MARK: - What the sender says

  mutating func heard(_ message: TransferMessage) throws(MalformedMessage) -> Event {
    switch (message, phase) {
    case (.hello(let hello), .greeting):
      phase = .greeted
      return .greeted(hello)
    case (.offer(let offer), .greeted):
      self.offer = offer
      names = OfferedNames(offer)
      phase = .asking
      return .offered(offer)
    case (.entry(let entry), .receiving): return .entry(number: try count(entry), entry)
    case (.begin(let number, let offset), .receiving):
      guard current == nil, case .wanted(let size, let have)? = files[number] else {
        throw MalformedMessage("contents that were not asked for")
      }
      guard offset == 0 || offset == have else { throw MalformedMessage("contents from another place") }
      files[number] = .begun(size: size, position: offset)
      current = number
      return .begin(number: number, offset: offset)
    case (.data(let slice), .receiving):
      guard let current, case .begun(let size, let position)? = files[current] else {
        throw MalformedMessage("file data without a preceding begin")
      }
      guard Int64(slice.count) <= size - position else { throw MalformedMessage("more contents than announced") }
      files[current] = .begun(size: size, position: position + Int64(slice.count))
      return .data(number: current, offset: position, slice)
    case (.end(let number, let hash), .receiving):
      switch files[number] {
      case .begun(let size, let position)? where position == size: current = nil
      case .checked?: break
      default: throw MalformedMessage("unexpected end-of-file message")
      }
      files[number] = nil
      givenUp.remove(number)
      return .end(number: number, hash)
    case (.problem(let problem), .receiving):
      problems += 1
      guard problems <= Limits.Transfer.entries else { throw MalformedMessage("problems without end") }
      if problem.number > 0 {
        guard files[problem.number] != nil else { throw MalformedMessage("a problem with no file under way") }
        if current == problem.number { current = nil }
        files[problem.number] = nil
      } else {
        skipped += 1
      }
      return .problem(problem, isEcho: givenUp.remove(problem.number) != nil)
    case (.complete, .receiving):
      guard files.isEmpty else { throw MalformedMessage("complete, with files left") }
      phase = .completed
      return .complete
    default: throw MalformedMessage("a message of a transfer at the wrong time")
    }
  }

  private mutating func count(_ entry: TransferEntry) throws(MalformedMessage) -> UInt64 {
    try names.take(entry.path)
    switch entry.kind {
    case .directory: counts.directories += 1
    case .link: counts.links += 1
    case .file(let size):
      // Both are at most `Limits.Wire.fileSize`, half of what an Int64 holds.
      counts.bytes += size
      counts.files += 1
      guard files.count < Limits.Transfer.ahead else { throw MalformedMessage("files announced too far ahead") }
      files[entries + 1] = .examined(size: size)
    }
    guard counts.bytes <= offer.bytes, counts.files <= offer.files, counts.directories <= offer.directories,
      counts.links <= offer.links
    else { throw MalformedMessage("more than was offered") }
    entries += 1
    return entries
  }

  // MARK: - What the receiver does

  /// The receiver agrees.
  mutating func accept() {
    precondition(phase == .asking)
    phase = .receiving
  }

  /// The receiver asks for a file, of which it has `have` bytes.
  mutating func want(_ number: UInt64, have: Int64) {
    guard case .examined(let size)? = files[number] else { return }
    files[number] = .wanted(size: size, have: min(have, size))
  }

  /// The receiver asks for the hash of a file.
  mutating func check(_ number: UInt64) {
    if case .examined? = files[number] { files[number] = .checked }
  }

  /// The receiver cannot take a file that it has examined.
  mutating func refuse(_ number: UInt64) { files[number] = nil }

  /// The receiver gives up on a file that it has asked for, and tells the sender.
  mutating func giveUp(_ number: UInt64) { if files[number] != nil { givenUp.insert(number) } }

  /// How many entries were offered, and have neither come nor been named as left out.
  var missing: UInt64 { offer.entries - min(offer.entries, entries + skipped) }

  /// Whether a file is under way; the sender may have given up on it meanwhile.
  func isUnderWay(_ number: UInt64) -> Bool { files[number] != nil }
}

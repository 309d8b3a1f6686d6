import P2PFSCore
import P2PFSWire

/// The receiver's state machine of a transfer, without I/O.
///
/// ```
/// greeting ──hello──▶ greeted ──offer──▶ asking ──accept()──▶ receiving ──complete──▶ completed
/// ```
/// A file is `examined` when its entry has arrived, and is then wanted, checked or refused. The contents of wanted
/// files arrive one file after the other, each from the requested offset or from its start.
struct ReceivingState {
  /// The meaning of a message from the sender.
  enum Event: Sendable {
    case greeted(TransferMessage.Hello)
    case offered(TransferMessage.Offer)
    /// A file has to be answered with `want`, `check` or `refuse`.
    case entry(number: UInt64, TransferEntry)
    case begin(number: UInt64, offset: Int64)
    /// Contents of the current file, at `offset`.
    case data(number: UInt64, offset: Int64, FrameSlice)
    case end(number: UInt64, ContentHash)
    /// `isEcho`: the sender confirms a problem that this side has reported.
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
  /// The file whose contents are arriving.
  private var current: UInt64?
  private var entries: UInt64 = 0
  private var counts = TransferMessage.Offer()
  private var names = OfferedNames(.init())
  /// Files in transfer that this side has given up on; the sender may not know it yet.
  private var givenUp: Set<UInt64> = []
  private var problems = 0
  /// Problems without an entry.
  private var skipped: UInt64 = 0

  // MARK: - Messages of the sender

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
      // Neither exceeds `Limits.Wire.fileSize`, half of the range of Int64.
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

  // MARK: - Actions of the receiver

  /// The receiver accepts the offer.
  mutating func accept() {
    precondition(phase == .asking)
    phase = .receiving
  }

  /// The receiver requests a file of which it has the first `have` bytes.
  mutating func want(_ number: UInt64, have: Int64) {
    guard case .examined(let size)? = files[number] else { return }
    files[number] = .wanted(size: size, have: min(have, size))
  }

  /// The receiver requests the hash of a file.
  mutating func check(_ number: UInt64) {
    if case .examined? = files[number] { files[number] = .checked }
  }

  /// The receiver refuses a file that it has examined.
  mutating func refuse(_ number: UInt64) { files[number] = nil }

  /// The receiver gives up on a file that it has requested, and reports that to the sender.
  mutating func giveUp(_ number: UInt64) { if files[number] != nil { givenUp.insert(number) } }

  /// The number of offered entries that have neither arrived nor been reported as left out.
  var missing: UInt64 { offer.entries - min(offer.entries, entries + skipped) }

  /// Whether a file is in transfer; the sender may have given up on it meanwhile.
  func isUnderWay(_ number: UInt64) -> Bool { files[number] != nil }
}

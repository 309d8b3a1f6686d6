import P2PFSCore
import P2PFSWire

/// The sender's state machine of a transfer, without I/O.
///
/// ```
/// greeting ──hello──▶ offering ──accept──▶ sending ──complete──▶ completed ──result──▶ over
///                         └─────decline──────────────────────────────────────────────▶ over
/// ```
/// An entry that is a file is `offered`, then wanted or checked by the receiver, and settled by the end of its contents
/// or a problem of either side. At most `Limits.Transfer.ahead` files are unsettled.
struct SendingState {
  /// The meaning of a message from the receiver.
  enum Event: Sendable {
    case greeted(TransferMessage.Hello)
    case accepted
    case declined(String)
    /// Send the file from `have` on if the hash of its first `have` bytes is `hash`, otherwise all of it.
    case want(number: UInt64, have: Int64, hash: ContentHash?)
    /// Send the hash of the file.
    case check(number: UInt64)
    /// `isAnswer`: it answers an entry in place of `want` or `check`.
    case problem(TransferProblem, isAnswer: Bool)
    case result(TransferResult)
  }

  enum Phase {
    case greeting, offering, sending, completed, over
  }

  private struct File {
    let size: Int64
    var isAnswered = false
    /// The receiver has given up on it.
    var isRefused = false
  }

  private(set) var phase = Phase.greeting
  private var offer = TransferMessage.Offer()
  private var unsettled: [UInt64: File] = [:]
  private var entries: UInt64 = 0
  private var counts = TransferMessage.Offer()
  private var problems: UInt64 = 0

  /// The number of files that are announced and not settled.
  var unsettledCount: Int { unsettled.count }

  // MARK: - Messages of the receiver

  mutating func heard(_ message: TransferMessage) throws(MalformedMessage) -> Event {
    switch (message, phase) {
    case (.hello(let hello), .greeting):
      phase = .offering
      return .greeted(hello)
    case (.accept, .offering):
      phase = .sending
      return .accepted
    case (.decline(let why), .offering):
      phase = .over
      return .declined(why)
    case (.want(let number, let have, let hash), .sending):
      let size = try answer(number)
      guard have <= size else { throw MalformedMessage("more of a file wanted than there is") }
      return .want(number: number, have: have, hash: hash)
    case (.check(let number), .sending):
      _ = try answer(number)
      return .check(number: number)
    case (.problem(let problem), .sending), (.problem(let problem), .completed):
      guard (1...max(entries, 1)).contains(problem.number), entries > 0, problems < entries else {
        throw MalformedMessage("a problem with what was not offered")
      }
      problems += 1
      guard let file = unsettled[problem.number] else { return .problem(problem, isAnswer: false) }
      if file.isAnswered {
        unsettled[problem.number]?.isRefused = true
      } else {
        unsettled[problem.number] = nil
      }
      return .problem(problem, isAnswer: !file.isAnswered)
    case (.result(let result), .completed):
      phase = .over
      return .result(result)
    default: throw MalformedMessage("a message of a transfer at the wrong time")
    }
  }

  private mutating func answer(_ number: UInt64) throws(MalformedMessage) -> Int64 {
    guard let file = unsettled[number], !file.isAnswered else {
      throw MalformedMessage("a file wanted that was not offered, or is not any more")
    }
    unsettled[number]?.isAnswered = true
    return file.size
  }

  // MARK: - Actions of the sender

  /// The sender has counted its files and sent the offer. The receiver may have accepted before.
  mutating func offer(_ offer: TransferMessage.Offer) { self.offer = offer }

  /// The number of the next entry; nil if it exceeds the offer. Requires room: `unsettledCount` below
  /// `Limits.Transfer.ahead`.
  mutating func announce(_ entry: TransferEntry) -> UInt64? {
    precondition(phase == .sending)
    switch entry.kind {
    case .directory:
      guard counts.directories < offer.directories else { return nil }
      counts.directories += 1
    case .link:
      guard counts.links < offer.links else { return nil }
      counts.links += 1
    case .file(let size):
      precondition(unsettled.count < Limits.Transfer.ahead)
      guard counts.files < offer.files, size <= offer.bytes - counts.bytes else { return nil }
      counts.files += 1
      counts.bytes += size
      unsettled[entries + 1] = File(size: size)
    }
    entries += 1
    return entries
  }

  /// The number of offered entries that were neither announced nor are among the `skipped` ones.
  func missing(besides skipped: UInt64) -> UInt64 { offer.entries - min(offer.entries, entries + skipped) }

  /// Whether the receiver has given up on a file that is being sent.
  func isRefused(_ number: UInt64) -> Bool { unsettled[number]?.isRefused ?? true }

  /// The end of a file, or a problem in its place, has been sent.
  mutating func settle(_ number: UInt64) { unsettled[number] = nil }

  /// All requested files have been sent.
  mutating func complete() {
    precondition(phase == .sending && unsettled.isEmpty)
    phase = .completed
  }
}

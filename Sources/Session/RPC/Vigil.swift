import P2PFSCore

/// Judges by the silence of a connection whether it still carries anything. A plain value without a clock: time is
/// counted in steps by its owner, so that a machine that slept finds nothing overdue.
///
/// ```
/// trusted ──silence──▶ asked for a sign of life ──silence for two round trips──▶ doubted ──`vanished`──▶ given up
///    ▲ ▲                   │                                                     │ ▲
///    │ └────── heard ──────┘                                                     │ └─ the network changed, or nothing
///    └────────────────────────── the answer to what was asked ───────────────────┘    can be sent
/// ```
/// Only an answer ends the doubt: that the peer is heard does not show that it hears us, and SCTP's own tries to send
/// again what was lost are seconds apart by then.
///
/// A doubted connection is still used and listened to; another one is made beside it.
struct Vigil {
  /// What is to be done about the connection.
  enum Advice: Equatable {
    case none
    /// Ask the peer for a sign of life.
    case ask
    /// Close it.
    case giveUp
  }

  /// Seconds since something was heard.
  private(set) var silence = 0.0
  /// Whether another connection is wanted.
  private(set) var isDoubted = false
  private var lastHeard = Instant(nanoseconds: 0)
  /// Seconds since the first question that has no answer, and since the latest one.
  private var asked: Double?
  private var askedAgain = 0.0
  /// Seconds since anything but questions and answers of this kind travelled.
  private var calm = 0.0
  /// The time of asking since which an answer is needed to trust the connection; nil if it is trusted.
  private var unproven: Instant?
  /// When the first question was asked that has no answer.
  private var askedAt = Instant(nanoseconds: 0)

  /// Whether time is to be counted in short steps: something is under way, or the connection is not to be trusted.
  var isAlert: Bool { calm < Limits.Session.busy || asked != nil || unproven != nil || isDoubted }

  /// Counts a step in seconds. `heard`: when the last authenticated packet came; `isBusy`: whether requests, answers or
  /// what channels carry were under way; `isFailing`: whether the kernel refuses to send; `roundTrip` in seconds, 0 if
  /// unknown; `vanished`: the silence after which the connection is given up.
  mutating func count(
    _ step: Double, heard: Instant, isBusy: Bool, isFailing: Bool, roundTrip: Double, vanished: Double, now: Instant
  ) -> Advice {
    silence += step
    calm = isBusy ? 0 : calm + step
    askedAgain += step
    asked = asked.map { $0 + step }
    if heard > lastHeard {
      lastHeard = heard
      silence = 0
      asked = nil
    }
    if silence >= vanished { return .giveUp }
    if isFailing, !isDoubted {
      isDoubted = true
      return networkChanged(at: now)
    }
    let heartbeat = vanished * Limits.Session.heartbeat
    let quiet = calm < Limits.Session.busy ? min(heartbeat, max(Limits.Session.quiet, roundTrip)) : heartbeat
    if let asked, asked >= max(Limits.Session.quiet, 1.5 * roundTrip),
      silence >= max(Limits.Session.leastDoubt, 2 * roundTrip)
    {
      doubt(since: askedAt)
    }
    guard silence >= quiet, asked == nil || askedAgain >= 1 else { return .none }
    return ask(at: now)
  }

  /// The network is another one since `now`: whether the connection works there is to be found out.
  mutating func networkChanged(at now: Instant) -> Advice {
    unproven = now
    return ask(at: now)
  }

  /// The answer to a question asked at `time` has come.
  mutating func answered(askedAt time: Instant) {
    guard let unproven, time >= unproven else { return }
    self.unproven = nil
    asked = nil
    isDoubted = false
  }

  /// The time for an answer since the network changed is over.
  mutating func answerIsOverdue() { if let unproven { doubt(since: unproven) } }

  private mutating func doubt(since time: Instant) {
    isDoubted = true
    unproven = unproven ?? time
  }

  private mutating func ask(at now: Instant) -> Advice {
    if asked == nil { (asked, askedAt) = (0, now) }
    askedAgain = 0
    return .ask
  }
}

import Core

/// Judges by the silence of a connection whether it still carries anything. A plain value without a clock: time is
/// counted in steps by its owner, so that a machine that slept finds nothing overdue.
///
/// ```
/// trusted ──silence──▶ asked for a sign of life ──none for two round trips──▶ doubted ──`vanished`──▶ given up
///    ▲ ▲                         │                                              │  ▲
///    │ └──────── heard ──────────┴──────────────── heard ───────────────────────┘  │ (the network changed, or
///    └──────────────── the answer to what was asked since ─────────────────────────┘  nothing can be sent)
/// ```
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
  /// Since when the network is another one; nil if the peer has answered since.
  private var changed: Instant?

  /// Whether time is to be counted in short steps: something is under way, or the connection is not to be trusted.
  var isAlert: Bool { calm < Limits.Session.busy || asked != nil || changed != nil || isDoubted }

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
      if changed == nil { isDoubted = false }
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
      isDoubted = true
    }
    guard silence >= quiet, asked == nil || askedAgain >= 1 else { return .none }
    return ask()
  }

  /// The network is another one since `now`: whether the connection works there is to be found out.
  mutating func networkChanged(at now: Instant) -> Advice {
    changed = now
    return ask()
  }

  /// The answer to a question asked at `time` has come.
  mutating func answered(askedAt time: Instant) {
    guard let changed, time >= changed else { return }
    self.changed = nil
    asked = nil
    isDoubted = false
  }

  /// The time for an answer since the network changed is over.
  mutating func answerIsOverdue() { if changed != nil { isDoubted = true } }

  private mutating func ask() -> Advice {
    asked = asked ?? 0
    askedAgain = 0
    return .ask
  }
}

import P2PFSCore

/// Judges by the silence of a connection whether it still works. A plain value without a clock: its owner counts time
/// in steps, so that nothing is overdue on a machine that slept.
///
/// ```
/// trusted ──silence──▶ asked for a sign of life ──silence for two round trips──▶ doubted ──`vanished`──▶ given up
///    ▲ ▲                   │                                                     │ ▲
///    │ └────── heard ──────┘                                                     │ └─ the network changed, or nothing
///    └────────────────────────── the answer to what was asked ───────────────────┘    can be sent
/// ```
/// Only an answer ends the doubt: packets of the peer do not show that it receives ours, and by then SCTP's own
/// retransmissions are seconds apart.
///
/// A doubted connection stays in use while another one is made beside it.
struct Vigil {
  /// The action to take on the connection.
  enum Advice: Equatable {
    case none
    /// Ask the peer for a sign of life.
    case ask
    /// Close it.
    case giveUp
  }

  /// Seconds since the last packet was received.
  private(set) var silence = 0.0
  /// Whether another connection is wanted.
  private(set) var isDoubted = false
  private var lastHeard = Instant(nanoseconds: 0)
  /// Seconds since the first unanswered ping, and since the latest one.
  private var asked: Double?
  private var askedAgain = 0.0
  /// Seconds since anything but pings and pongs was on the way.
  private var calm = 0.0
  /// Only the answer to a ping sent at this time or later restores trust; nil while the connection is trusted.
  private var unproven: Instant?
  /// When the first unanswered ping was sent.
  private var askedAt = Instant(nanoseconds: 0)

  /// Whether time is to be counted in short steps: something is under way, or the connection is not trusted.
  var isAlert: Bool { calm < Limits.Session.busy || asked != nil || unproven != nil || isDoubted }

  /// Counts a step in seconds. `heard`: when the last authenticated packet was received; `isBusy`: whether requests,
  /// replies or data of channels were under way; `isFailing`: whether the kernel refuses to send; `roundTrip` in
  /// seconds, 0 if unknown; `vanished`: seconds of silence after which the connection is given up.
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

  /// The network has changed at `now`: the connection has to prove that it still works.
  mutating func networkChanged(at now: Instant) -> Advice {
    unproven = now
    return ask(at: now)
  }

  /// The answer to a ping sent at `time` was received.
  mutating func answered(askedAt time: Instant) {
    guard let unproven, time >= unproven else { return }
    self.unproven = nil
    asked = nil
    isDoubted = false
  }

  /// The time for an answer after a change of the network has passed.
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

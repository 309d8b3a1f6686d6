import P2PFSCore

/// Which of an exporter's guests are away, and what they lose by that. A plain value without a clock.
///
/// ```
/// connected ──▶ away ──`Limits.Session.rest`, or `spared` if others need it──▶ resting ──`expiry`──▶ dropped
///                 │                                                                                    ▲
///                 └────────── after `spared`, if another guest needs its place ────────────────────────┘
/// ```
/// Who has been away for longest loses first. A place is given away at once if its guest has nothing open: or whoever
/// comes and goes 16 times in a minute would keep everybody else out.
struct Absences {
  /// A guest, as far as it counts here.
  struct Guest {
    let identity: [UInt8]
    /// Seconds since it was connected; nil: it is.
    let away: Double?
    /// Whether it may have something open, which is closed when it rests.
    let isHolding: Bool
    /// Whether others could have what it holds: open files of the common stock, and memory beyond the least.
    var holdsFiles = false
    var holdsMemory = false
    /// Whether it loses nothing with its place: no file and no channel is open.
    var hasNothingOpen = false
  }

  private let away: [(guest: Guest, seconds: Double)]

  /// All guests of an exporter.
  init(_ guests: [Guest]) {
    away = guests.compactMap { guest in guest.away.map { (guest, $0) } }.sorted { $0.seconds > $1.seconds }
  }

  /// Those that are given up.
  var dropped: [[UInt8]] { identities { _, seconds in seconds > Limits.Session.expiry } }

  /// Those whose files are closed, whether others need them or not.
  var resting: [[UInt8]] {
    identities { guest, seconds in
      guest.isHolding && seconds > Limits.Session.rest && seconds <= Limits.Session.expiry
    }
  }

  /// Whose place another guest may have; nil: nobody's yet.
  var place: [UInt8]? {
    identities { _, _ in true }.first ?? away.first { $0.guest.hasNothingOpen }?.guest.identity
  }

  /// Whose files are closed since others find none left in the stock; nil: nobody's.
  var files: [UInt8]? { identities { guest, _ in guest.holdsFiles }.first }

  /// Whose memory others may have; nil: nobody's.
  var memory: [UInt8]? { identities { guest, _ in guest.holdsMemory }.first }

  private func identities(_ isWanted: (Guest, Double) -> Bool) -> [[UInt8]] {
    away.filter { $0.seconds > Limits.Session.spared && isWanted($0.guest, $0.seconds) }.map(\.guest.identity)
  }
}

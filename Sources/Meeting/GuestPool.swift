import P2PFSCore

/// What all guests of one exporter together may make it hold, dealt out to them. A plain value.
struct GuestPool {
  /// What one guest gets of it, in bytes.
  struct Allowance: Equatable {
    /// Data of writes that wait for the disk.
    let writeCredit: Int
    /// Answers that wait for the network.
    let backlog: Int

    /// What each guest has in any case.
    static let least = Allowance(
      writeCredit: Limits.Session.leastWriteCredit, backlog: Limits.Session.leastBacklog)
  }

  private var writes = Limits.Session.writePool
  private var backlogs = Limits.Session.backlogPool

  /// The share of one more guest: a third of what is left of each, so that early guests do not take everything, between
  /// the least that works and the most that is of use.
  mutating func grant() -> Allowance {
    let allowance = Allowance(
      writeCredit: max(Limits.Session.leastWriteCredit, min(Limits.Session.writeCredit, writes / 3)),
      backlog: max(Limits.Session.leastBacklog, min(Limits.Session.backlog, backlogs / 3)))
    writes -= allowance.writeCredit
    backlogs -= allowance.backlog
    return allowance
  }

  /// The least share, for a guest that is away.
  mutating func grantLeast() -> Allowance {
    let allowance = Allowance.least
    writes -= allowance.writeCredit
    backlogs -= allowance.backlog
    return allowance
  }

  /// Whether the next guest would get no more than the least of one of them.
  var isScarce: Bool {
    writes / 3 <= Allowance.least.writeCredit || backlogs / 3 <= Allowance.least.backlog
  }

  /// Takes a share back.
  mutating func reclaim(_ allowance: Allowance) {
    writes += allowance.writeCredit
    backlogs += allowance.backlog
  }
}

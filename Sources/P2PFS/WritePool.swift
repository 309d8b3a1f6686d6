import Core
import Synchronization

/// What all guests of one exporter together may send ahead of the disk, dealt out as write credits.
final class WritePool: Sendable {
  private let left = Mutex(Limits.Session.writePool)

  /// A credit for one more guest: a quarter of what is left, so that early guests do not take everything, between
  /// the least credit that works and the most that is of use.
  func grant() -> Int {
    left.withLock { left in
      let credit = max(Limits.Session.leastWriteCredit, min(Limits.Session.writeCredit, left / 4))
      left -= credit
      return credit
    }
  }

  /// Takes a credit back.
  func reclaim(_ credit: Int) {
    left.withLock { $0 += credit }
  }
}

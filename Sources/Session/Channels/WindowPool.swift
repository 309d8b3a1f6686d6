import P2PFSCore
import Synchronization

/// Bytes by which the windows of all channels of one session may grow, beyond the least one of each. From any thread.
final class WindowPool: Sendable {
  private let left = Mutex(Limits.Channel.windowPool)

  /// Takes `amount`, if there is that much.
  func take(_ amount: UInt64) -> Bool {
    left.withLock { left in
      guard left >= amount else { return false }
      left -= amount
      return true
    }
  }

  /// Returns an amount that was taken.
  func give(back amount: UInt64) { left.withLock { $0 += amount } }
}

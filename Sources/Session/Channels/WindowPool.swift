import P2PFSCore
import Synchronization

/// What the channels of one session may have in their windows beyond what each has for sure. From any thread.
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

  /// Gives back what was taken.
  func give(back amount: UInt64) { left.withLock { $0 += amount } }
}

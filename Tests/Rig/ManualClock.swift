package import P2PFSCore
import Synchronization

/// A clock that stands still until it is moved. From any thread.
package final class ManualClock: Sendable {
  private let time = Mutex(Instant(nanoseconds: 1_000_000_000))

  /// Some time after the clock's beginning.
  package init() {}

  /// To be given to what is tested.
  package var clock: Clock { Clock { [self] in time.withLock { $0 } } }

  /// Moves it forward.
  package func advance(by seconds: Double) { time.withLock { $0 = $0.advanced(by: seconds) } }
}

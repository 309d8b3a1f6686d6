import Glibc

/// A point on the monotonic clock, in nanoseconds. It stands still while the machine sleeps.
package struct Instant: Sendable, Comparable, Hashable {
  /// Nanoseconds since an arbitrary start.
  package var nanoseconds: UInt64

  /// The point `nanoseconds` after the clock's start.
  package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// The time now, CLOCK_MONOTONIC of clock_gettime(2).
  package static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  /// Seconds from `earlier` to this point; negative if `earlier` is later.
  package func seconds(since earlier: Instant) -> Double {
    Double(Int64(bitPattern: nanoseconds &- earlier.nanoseconds)) / 1e9
  }

  /// The point `seconds` later.
  package func advanced(by seconds: Double) -> Instant {
    Instant(nanoseconds: nanoseconds &+ UInt64(bitPattern: Int64(seconds * 1e9)))
  }

  package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
}

/// Where the time comes from: the machine, or a test.
package struct Clock: Sendable {
  private let read: @Sendable () -> Instant

  /// A clock that says what `read` returns, which never goes back. From any thread.
  package init(_ read: @escaping @Sendable () -> Instant) { self.read = read }

  /// The machine's own, `Instant.now`.
  package static let real = Clock { .now }

  /// The time now.
  package var now: Instant { read() }
}

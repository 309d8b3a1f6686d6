import CP2PFSLinux
import Glibc
import Synchronization

/// Lets one thread wait for a file descriptor and for other threads at once.
///
/// The thread announces that it will wait (`listen`), checks once more whether the event has happened, and waits.
/// `ring` makes a system call only during a wait.
final class PollWaker: Sendable {
  private let event: Int32
  private let isAwaited = Atomic<Bool>(false)

  init() {
    event = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    precondition(event >= 0, "no eventfd: errno \(errno)")
  }

  deinit { close(event) }

  /// Ends a wait, or one that was announced by `listen`. From any thread.
  func ring() {
    guard isAwaited.exchange(false, ordering: .sequentiallyConsistent) else { return }
    var one: UInt64 = 1
    _ = write(event, &one, MemoryLayout.size(ofValue: one))
  }

  /// Announces a wait: from here on `ring` ends the next `wait`.
  func listen() { isAwaited.store(true, ordering: .sequentiallyConsistent) }

  /// Waits for `ring`, for `events` at `descriptor` (poll(2)), or for its hangup.
  /// - Parameter milliseconds: the longest wait; -1: unlimited.
  /// - Returns: the events at `descriptor`.
  func wait(for events: Int32, at descriptor: Int32, milliseconds: Int32 = -1) -> Int32 {
    var polled = (
      pollfd(fd: event, events: Int16(POLLIN), revents: 0),
      pollfd(fd: descriptor, events: Int16(events), revents: 0)
    )
    let found = withUnsafeMutableBytes(of: &polled) {
      poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, milliseconds)
    }
    isAwaited.store(false, ordering: .sequentiallyConsistent)
    // Interrupted by a signal: treated as a ring.
    guard found > 0 else { return 0 }
    if polled.0.revents != 0 {
      var count: UInt64 = 0
      _ = read(event, &count, MemoryLayout.size(ofValue: count))
    }
    return Int32(polled.1.revents)
  }

  /// Waits for `ring` alone, at most this many milliseconds.
  func wait(milliseconds: Int32 = -1) { _ = wait(for: 0, at: -1, milliseconds: milliseconds) }
}

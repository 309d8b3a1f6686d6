import CP2PFSLinux
import Glibc

/// A thread with a name that shows in ps(1) and debuggers.
package struct Worker: @unchecked Sendable {
  // pthread_t is a number on Linux; joined once, by the owner.
  private let thread: pthread_t

  /// Starts a thread that runs `body` and ends with it; to be joined. Signals are blocked in it: they are handled by
  /// the main thread. Except for terminal signals of background processes: a thread that blocks them would get EIO
  /// instead of being stopped (termios(3)). `name` has at most 15 bytes.
  package init(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let (thread, result) = Worker.start(name, body)
    precondition(result == 0, "pthread_create failed: \(result)")
    self.thread = thread
  }

  /// - Returns: the thread, and the error of pthread_create(3).
  private static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> (pthread_t, CInt) {
    final class Start: Sendable {
      let name: String
      let body: @Sendable () -> Void
      init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
      }
    }
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    sigdelset(&all, SIGTTIN)
    sigdelset(&all, SIGTTOU)
    // Faults of the thread itself: blocked, they would end the process without the backtrace of Swift's handler.
    for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] { sigdelset(&all, fault) }
    pthread_sigmask(SIG_SETMASK, &all, &before)
    var thread = pthread_t()
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    let result = pthread_create(
      &thread, nil,
      { pointer in
        let start = Unmanaged<Start>.fromOpaque(pointer!).takeRetainedValue()
        pthread_setname_np(pthread_self(), start.name)
        start.body()
        return nil
      }, start.toOpaque())
    pthread_sigmask(SIG_SETMASK, &before, nil)
    if result != 0 { start.release() }
    return (thread, result)
  }

  /// Starts a thread that is never joined.
  package static func detached(_ name: String, _ body: @escaping @Sendable () -> Void) {
    pthread_detach(Worker(name, body).thread)
  }

  /// Like `detached`, for an optional thread: false if the system allows no more.
  package static func detachedIfPossible(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
    let (thread, result) = start(name, body)
    if result == 0 { pthread_detach(thread) }
    return result == 0
  }

  /// Waits until the thread has ended.
  package func join() { pthread_join(thread, nil) }

  /// Whether the caller runs on this thread.
  package var isCurrent: Bool { pthread_equal(pthread_self(), thread) != 0 }
}

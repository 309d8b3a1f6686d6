import Glibc
import Synchronization

/// The signals that end the program. They are blocked in every thread and waited for in one.
enum Signals {
  private static let first = Atomic<Int32>(0)

  /// Blocks them, and ignores those that writing to what is gone would bring. To be called before there are threads.
  static func block() {
    var set = ending
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Calls `body` with the first signal that comes, on a thread of its own. A second one ends the program at once.
  static func onFirst(_ body: @escaping @Sendable (Int32) -> Void) {
    spawnThread {
      var set = ending
      var signal: Int32 = 0
      sigwait(&set, &signal)
      first.store(signal, ordering: .relaxed)
      body(signal)
      sigwait(&set, &signal)
      _exit(128 + signal)
    }
  }

  /// The signal that came; 0 if none did.
  static var received: Int32 { first.load(ordering: .relaxed) }

  private static var ending: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, signal) }
    return set
  }
}

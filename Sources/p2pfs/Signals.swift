import Glibc
import Synchronization

/// The signals that end the program. They are blocked in every thread and waited for in one.
enum Signals {
  private static let first = Atomic<Int32>(0)
  /// Whether the program was started to outlive its terminal, by nohup(1).
  private static let ignoresHangUp = Atomic<Bool>(false)

  /// Blocks them, and ignores those that writing to what is gone would bring. To be called before there are threads.
  static func block() {
    var action = sigaction()
    sigaction(SIGHUP, nil, &action)
    // SIG_IGN is 1 (signal.h); Swift does not import the cast.
    if unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1 {
      ignoresHangUp.store(true, ordering: .relaxed)
    }
    var set = ending
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Lets them end the program again, for a command that has nothing to clean up.
  static func unblock() {
    var set = ending
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }

  /// Whether one has come that nobody has waited for yet.
  static var isPending: Bool {
    var set = sigset_t()
    sigpending(&set)
    var awaited = ending
    return [SIGINT, SIGTERM, SIGHUP].contains { sigismember(&set, $0) == 1 && sigismember(&awaited, $0) == 1 }
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
    for signal in [SIGINT, SIGTERM] { sigaddset(&set, signal) }
    if !ignoresHangUp.load(ordering: .relaxed) { sigaddset(&set, SIGHUP) }
    return set
  }
}

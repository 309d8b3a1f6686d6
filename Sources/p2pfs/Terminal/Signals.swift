import P2PFSCore
import Glibc
import Synchronization

/// The signals that end the program. A handler passes them through a pipe to the one thread that waits for them.
///
/// They are not blocked and waited for by sigwait(3): the main thread of an asynchronous program ends up in
/// Dispatch, which unblocks every signal there.
enum Signals {
  private static let first = Atomic<Int32>(0)
  /// Whether there is a thread that takes what comes.
  private static let isWatched = Atomic<Bool>(false)
  // Written once by `catchEnding`, before there are threads.
  nonisolated(unsafe) private static var readEnd: Int32 = -1
  nonisolated(unsafe) private static var writeEnd: Int32 = -1
  nonisolated(unsafe) private static var ignoresBrokenPipes = false

  /// Catches them, and ignores those that writing to what is gone would bring. To be called before there are threads.
  /// What was ignored when the program started, as by nohup(1), stays ignored.
  static func catchEnding() {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return }
    (readEnd, writeEnd) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(writeEnd, F_SETFL, O_NONBLOCK)
    for signal in [SIGINT, SIGTERM, SIGHUP] {
      var action = sigaction()
      sigaction(signal, nil, &action)
      if unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) {
        continue
      }
      action.__sigaction_handler.sa_handler = { signal in
        let error = errno
        var byte = UInt8(truncatingIfNeeded: signal)
        _ = write(Signals.writeEnd, &byte, 1)
        errno = error
      }
      action.sa_flags = SA_RESTART
      sigemptyset(&action.sa_mask)
      sigaction(signal, &action, nil)
    }
    let before = signal(SIGPIPE, SIG_IGN)
    ignoresBrokenPipes = unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Ends the program as a broken pipe ends any filter, unless SIGPIPE was ignored when it started: then it returns.
  static func dieOfBrokenPipe() {
    guard !ignoresBrokenPipes else { return }
    signal(SIGPIPE, SIG_DFL)
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGPIPE)
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
    // To the process, not the thread.
    kill(getpid(), SIGPIPE)
    // The first process of a container does not die of it.
    usleep(200_000)
    _exit(128 + SIGPIPE)
  }

  /// Lets them end the program at once, for a command that leaves nothing behind.
  static func release() {
    for ending in [SIGINT, SIGTERM, SIGHUP] {
      var action = sigaction()
      sigaction(ending, nil, &action)
      if unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) != unsafeBitCast(SIG_IGN, to: Int.self) {
        signal(ending, SIG_DFL)
      }
    }
  }

  /// Whether one has come that nobody has waited for yet.
  static var isPending: Bool {
    var ready = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
    return poll(&ready, 1, 0) > 0
  }

  /// Calls `body` with the first signal that comes, on a thread of its own. A second one ends the program at once.
  static func onFirst(_ body: @escaping @Sendable (Int32) -> Void) {
    isWatched.store(true, ordering: .relaxed)
    Worker.detached("signals") {
      let signal = next()
      first.store(signal, ordering: .relaxed)
      body(signal)
      _exit(128 + next())
    }
  }

  /// The signal that came; 0 if none did.
  static var received: Int32 { first.load(ordering: .relaxed) }

  /// The signal that ends the program: the one that came, also if nobody has waited for it yet. SIGINT if none came.
  static var ending: Int32 {
    if received != 0 { return received }
    return !isWatched.load(ordering: .relaxed) && isPending ? next() : SIGINT
  }

  /// Waits for a signal.
  private static func next() -> Int32 {
    var byte: UInt8 = 0
    while read(readEnd, &byte, 1) != 1 {}
    return Int32(byte)
  }
}

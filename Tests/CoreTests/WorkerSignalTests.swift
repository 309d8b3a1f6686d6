import P2PFSCore
import Glibc
import Synchronization
import Testing

@Suite struct WorkerSignalTests {
  @Test func `a worker blocks the signals of the process, not its own faults nor those of a terminal`() {
    let blocked = Mutex<Set<CInt>>([])
    Worker("signals") {
      var mask = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &mask)
      blocked.withLock { $0 = Set((1...31).filter { sigismember(&mask, $0) == 1 }) }
    }.join()
    let set = blocked.withLock { $0 }
    #expect(set.isSuperset(of: [SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGUSR1]))
    #expect(set.isDisjoint(with: [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGTTIN, SIGTTOU]))
  }
}

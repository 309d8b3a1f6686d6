import P2PFSCore
import Glibc
import NIOCore
import NIOPosix

/// The one thread that reads and writes the sockets of forwarded connections, and the few threads that look up names.
/// They live as long as the process.
enum ForwardLoop {
  /// The loop of this layer. Never blocks.
  static let loop: any EventLoop = {
    // A connection needs two descriptors: the usual soft limit of 1024 is for programs that use select(2).
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max {
      limit.rlim_cur = limit.rlim_max
      _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    return MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
  }()

  /// For blocking work, mainly name lookups.
  static let threads: NIOThreadPool = {
    let pool = NIOThreadPool(numberOfThreads: Limits.Forward.lookupThreads)
    pool.start()
    return pool
  }()
}

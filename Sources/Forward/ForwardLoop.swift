import P2PFSCore
import Glibc
import NIOCore
import NIOPosix

/// The one thread on which the sockets of forwarded connections are read and written, and the few on which names are
/// looked up. They live as long as the process.
enum ForwardLoop {
  /// Runs everything that is marked as the loop's in this layer. Never blocks.
  static let loop: any EventLoop = {
    // Two descriptors a connection: the usual soft limit of 1024 is meant for programs that use select(2).
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max {
      limit.rlim_cur = limit.rlim_max
      _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    return MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
  }()

  /// For what blocks: looking up names, above all.
  static let threads: NIOThreadPool = {
    let pool = NIOThreadPool(numberOfThreads: Limits.Forward.lookupThreads)
    pool.start()
    return pool
  }()
}

import NIOPosix

/// The one thread on which all of signaling runs, clients and servers.
enum SignalLoop {
  /// Lives as long as the process.
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
}

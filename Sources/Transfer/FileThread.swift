import P2PFSCore

/// Threads for work that blocks, on disks and on channels.
enum FileThread {
  /// Runs `body` on a thread of its own.
  static func start(_ body: @escaping @Sendable () -> Void) { Worker.detached("transfer", body) }

  /// Runs `body` on a thread of its own, and suspends the task until it has ended.
  static func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in start { continuation.resume(returning: body()) } }
  }
}

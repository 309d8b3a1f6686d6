internal import Core
internal import Glibc

/// Threads for work that waits: for disks, and for channels.
enum FileThread {
  private final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Runs `body` on a thread of its own.
  static func start(_ body: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Work(body)).toOpaque()
    let error = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
        return nil
      }, argument)
    guard error == 0 else { fatalError("no thread: \(String(cString: strerror(error)))") }
    pthread_detach(thread)
  }

  /// Runs `body` on a thread of its own, and waits for its end by suspending.
  static func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in start { continuation.resume(returning: body()) } }
  }
}

import CP2PFSNice
import Glibc

/// A one-shot timer on the transport thread, used on that thread only.
final class Timer {
  private let source: UnsafeMutablePointer<GSource>
  fileprivate let fire: () -> Void

  // Shared by all timers; GLib keeps the pointer. Never written after its initialization.
  private nonisolated(unsafe) static let functions: UnsafeMutablePointer<GSourceFuncs> = {
    let functions = UnsafeMutablePointer<GSourceFuncs>.allocate(capacity: 1)
    functions.initialize(to: GSourceFuncs())
    functions.pointee.dispatch = { source, callback, data in
      g_source_set_ready_time(source, -1)
      return callback?(data) ?? 1
    }
    return functions
  }()

  /// Creates a timer that is not set. `fire` must not hold the timer's owner strongly.
  init(on thread: TransportThread, fire: @escaping () -> Void) {
    self.fire = fire
    source = g_source_new(Self.functions, guint(MemoryLayout<GSource>.size))
    g_source_set_callback(
      source,
      { data in
        let timer = Unmanaged<Timer>.fromOpaque(data!).takeUnretainedValue()
        withExtendedLifetime(timer) { timer.fire() }
        return 1
      }, Unmanaged.passUnretained(self).toOpaque(), nil)
    g_source_attach(source, thread.context)
  }

  deinit {
    g_source_destroy(source)
    g_source_unref(source)
  }

  /// Fires once, `seconds` from now; replaces the time set before.
  func set(after seconds: Double) {
    g_source_set_ready_time(source, g_get_monotonic_time() + Int(seconds * 1e6))
  }

  /// Cancels the time set before.
  func cancel() { g_source_set_ready_time(source, -1) }
}

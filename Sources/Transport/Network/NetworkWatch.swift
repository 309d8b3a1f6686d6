import CP2PFSLinux
import P2PFSCore
import Glibc
import Synchronization

/// Tells when this computer's own network has changed, so that connections can be made anew at once instead of when the
/// peer has been silent for long.
///
/// One for the process, with a thread of its own, which waits for rtnetlink(7). The kernel's word is only the reason to
/// look: it does not tell of routes that go with an address or a link, so the state itself is compared.
package final class NetworkWatch: Sendable {
  /// What has happened.
  package enum Change: Sendable {
    /// Addresses, interfaces or the route into the Internet are others.
    case network
    /// The machine slept, or this process was stopped: nothing is known of what was connected before.
    case slept
  }

  /// The watch. Its thread starts at first use and runs as long as the process.
  package static let shared = NetworkWatch()

  private let listeners = Mutex<(last: UInt64, all: [UInt64: AsyncStream<Change>.Continuation])>((0, [:]))

  private init() { Worker.detached("network") { [self] in watch() } }

  /// The changes from here on. Who is late hears of the latest only.
  package func changes() -> AsyncStream<Change> {
    let (stream, continuation) = AsyncStream.makeStream(of: Change.self, bufferingPolicy: .bufferingNewest(1))
    let number = listeners.withLock { listeners in
      listeners.last += 1
      listeners.all[listeners.last] = continuation
      return listeners.last
    }
    continuation.onTermination = { [weak self] _ in
      self?.listeners.withLock { $0.all[number] = nil }
    }
    return stream
  }

  private func tell(_ change: Change) {
    let all = listeners.withLock { Array($0.all.values) }
    for listener in all { listener.yield(change) }
  }

  private func watch() {
    let socket = p2pfs_network_socket(1)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.Network.message, alignment: 8)
    var state = NetworkState.now()
    var wakefulness = Wakefulness(at: .boot)
    while true {
      // Without a socket (a sandbox may refuse it) the state is looked at each time.
      var hasChanged = wait(socket, seconds: Limits.Network.clock) ? drain(socket, buffer) : socket < 0
      if wakefulness.hasSlept(until: .boot) { tell(.slept) }
      guard hasChanged else { continue }
      for _ in 0..<Limits.Network.settlings where hasChanged && socket >= 0 {
        hasChanged = wait(socket, seconds: Limits.Network.settling) && drain(socket, buffer)
      }
      let new = NetworkState.now()
      if new != state { tell(.network) }
      state = new
    }
  }

  /// Whether there is something to read from the socket within the time.
  private func wait(_ socket: Int32, seconds: Double) -> Bool {
    var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    return poll(&waiting, 1, Int32(seconds * 1000)) > 0
  }

  /// Reads all that the kernel has to say. Returns whether something has changed.
  private func drain(_ socket: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Bool {
    var hasChanged = false
    for _ in 0..<Limits.Network.messages {
      let count = p2pfs_network_event(socket, buffer.baseAddress, buffer.count)
      if count < 0 {
        if errno == EINTR { continue }
        // ENOBUFS: it had more to say than the socket holds.
        return hasChanged || errno != EAGAIN
      }
      if NetworkMessage.tellsOfChange(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)])) { hasChanged = true }
    }
    return hasChanged
  }
}

extension Instant {
  /// The time now of CLOCK_BOOTTIME, which goes on while the machine sleeps.
  fileprivate static var boot: Instant {
    Instant(nanoseconds: p2pfs_boot_nanoseconds())
  }
}

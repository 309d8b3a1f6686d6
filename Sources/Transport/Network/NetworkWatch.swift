import CP2PFSLinux
import P2PFSCore
import Glibc
import Synchronization

/// Reports changes of this computer's own network, so that connections can be replaced at once instead of after a long
/// silence of the peer.
///
/// One for the process, with a thread of its own that waits for messages of rtnetlink(7). A message only triggers a
/// comparison of `NetworkState`: the kernel does not report routes that vanish together with an address or a link.
package final class NetworkWatch: Sendable {
  /// A change.
  package enum Change: Sendable {
    /// Addresses, interfaces or the routes into the Internet changed.
    case network
    /// The machine slept or this process was stopped: existing connections may be dead.
    case slept
  }

  /// The watch. Its thread starts at first use and runs as long as the process.
  package static let shared = NetworkWatch()

  private let listeners = Mutex<(last: UInt64, all: [UInt64: AsyncStream<Change>.Continuation])>((0, [:]))

  private init() { Worker.detached("network") { [self] in watch() } }

  /// The changes from now on. A slow reader gets only the latest.
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
      // Without a socket (a sandbox may refuse it) the state is compared each time.
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

  /// Whether the socket becomes readable within the time.
  private func wait(_ socket: Int32, seconds: Double) -> Bool {
    var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    return poll(&waiting, 1, Int32(seconds * 1000)) > 0
  }

  /// Reads all waiting messages.
  /// - Returns: whether one reports a change.
  private func drain(_ socket: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Bool {
    var hasChanged = false
    for _ in 0..<Limits.Network.messages {
      let count = p2pfs_network_event(socket, buffer.baseAddress, buffer.count)
      if count < 0 {
        if errno == EINTR { continue }
        // ENOBUFS: messages were lost because the socket's buffer was full.
        return hasChanged || errno != EAGAIN
      }
      if NetworkMessage.tellsOfChange(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)])) { hasChanged = true }
    }
    return hasChanged
  }
}

extension Instant {
  /// The current time of CLOCK_BOOTTIME, which keeps running while the machine sleeps.
  fileprivate static var boot: Instant {
    Instant(nanoseconds: p2pfs_boot_nanoseconds())
  }
}

import CP2PFSLinux
import CP2PFSNice
import P2PFSCore
import Glibc

/// How this computer is connected: its addresses and its routes into the Internet. As long as two states are equal,
/// existing connections need not be replaced.
struct NetworkState: Equatable {
  /// Addresses of running interfaces, each followed by the interface's name.
  var addresses: Set<[UInt8]> = []
  /// The routes into the Internet, of IPv4 and IPv6.
  var routes: [NetworkMessage.Route?] = []

  /// The current state. Asks the kernel; takes less than a millisecond.
  static func now() -> NetworkState {
    // Addresses for documentation (RFC 5737, RFC 3849), which stand for any address in the Internet. Nothing is sent there.
    NetworkState(
      addresses: currentAddresses(),
      routes: [[192, 0, 2, 1], [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]].map(route))
  }

  private static func currentAddresses() -> Set<[UInt8]> {
    // Every interface has a link-local address; it is never a candidate.
    let usable = InterfaceAddress.all.lazy.filter { $0.isRunning && !$0.isLoopback && !$0.isLinkLocalIPv6 }
    return Set(usable.prefix(Limits.Network.addresses).map { $0.bytes + $0.interface.utf8 })
  }

  private static func route(to address: [UInt8]) -> NetworkMessage.Route? {
    let socket = p2pfs_network_socket(0)
    guard socket >= 0 else { return nil }
    defer { close(socket) }
    guard p2pfs_ask_route(socket, address, UInt32(address.count)) == 0 else { return nil }
    var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    guard poll(&waiting, 1, Int32(Limits.Network.answer * 1000)) == 1 else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: Limits.Network.message, alignment: 8) { buffer in
      let count = p2pfs_network_event(socket, buffer.baseAddress, buffer.count)
      guard count > 0 else { return nil }
      return NetworkMessage.route(in: UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
    }
  }
}

/// Detects that the machine slept or that this process was stopped, by a clock that keeps running meanwhile.
struct Wakefulness {
  private var last: Instant

  /// Starts awake, at a time of CLOCK_BOOTTIME.
  init(at now: Instant) { last = now }

  /// Whether the machine slept since the last call. Must be called at least every `Limits.Network.clock` seconds.
  mutating func hasSlept(until now: Instant) -> Bool {
    defer { last = now }
    return now.seconds(since: last) > Limits.Network.clock + Limits.Network.slept
  }
}

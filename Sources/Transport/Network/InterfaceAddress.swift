import Glibc

/// An address of an interface of this computer that is up, as getifaddrs(3) lists it.
struct InterfaceAddress {
  /// Name of the interface.
  let interface: String
  /// Four bytes of IPv4 or sixteen of IPv6.
  let bytes: [UInt8]
  /// Bits of the network's prefix.
  let prefix: Int
  /// Whether the interface has a carrier.
  let isRunning: Bool
  let isLoopback: Bool

  /// Whether it is an IPv6 address in fe80::/10.
  var isLinkLocalIPv6: Bool { bytes.count == 16 && bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80 }

  /// All addresses in the order of the interfaces; none if the kernel does not answer. From any thread.
  static var all: [InterfaceAddress] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { return [] }
    defer { freeifaddrs(list) }
    var addresses: [InterfaceAddress] = []
    var entry = list
    while let interface = entry?.pointee {
      entry = interface.ifa_next
      let flags = Int32(bitPattern: interface.ifa_flags)
      guard flags & Int32(IFF_UP) != 0, let address = interface.ifa_addr, let name = interface.ifa_name,
        let bytes = bytes(of: address)
      else { continue }
      let mask = interface.ifa_netmask.flatMap { self.bytes(of: $0) } ?? []
      addresses.append(
        InterfaceAddress(
          interface: String(cString: name), bytes: bytes, prefix: mask.reduce(0) { $0 + $1.nonzeroBitCount },
          isRunning: flags & Int32(IFF_RUNNING) != 0, isLoopback: flags & Int32(IFF_LOOPBACK) != 0))
    }
    return addresses
  }

  /// The address in a sockaddr: sin_addr of ip(7) or sin6_addr of ipv6(7), behind the family; nil for other families.
  private static func bytes(of address: UnsafeRawPointer) -> [UInt8]? {
    switch Int32(address.load(as: UInt16.self)) {
    case AF_INET: Array(UnsafeRawBufferPointer(start: address + 4, count: 4))
    case AF_INET6: Array(UnsafeRawBufferPointer(start: address + 8, count: 16))
    default: nil
    }
  }
}

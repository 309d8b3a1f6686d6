package import P2PFSCore
import Glibc

/// The addresses of this computer.
package enum LocalAddress {
  /// The address that others in this network most likely reach this computer at: that of the default route, else the
  /// first one that is up, else loopback.
  package static var forOthers: String {
    for probe in ["192.0.2.1", "2001:db8::1"] {
      if let address = source(towards: probe) { return address }
    }
    return firstUp ?? "127.0.0.1"
  }

  /// Whether this computer has an address that others may reach.
  static var hasNetwork: Bool { firstUp != nil }

  /// Whether `host` is this computer itself, seen from itself only.
  package static func isLoopback(_ host: String) -> Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  /// The address that a packet to `address` would carry. Nothing is sent: connect(2) of a UDP socket only looks up
  /// the route. The addresses are of the ranges for documentation, which nobody has.
  private static func source(towards address: String) -> String? {
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST
    hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(address, "9", &hints, &list) == 0, let info = list?.pointee else { return nil }
    defer { freeaddrinfo(list) }
    let descriptor = socket(info.ai_family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { storage in
      storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
        guard connect(descriptor, info.ai_addr, info.ai_addrlen) == 0, getsockname(descriptor, name, &length) == 0
        else {
          return nil
        }
        return text(name, length)
      }
    }
  }

  private static var firstUp: String? {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { return nil }
    defer { freeifaddrs(list) }
    for family in [AF_INET, AF_INET6] {
      var entry = list
      while let interface = entry?.pointee {
        entry = interface.ifa_next
        let flags = Int32(bitPattern: interface.ifa_flags)
        guard let address = interface.ifa_addr, Int32(address.pointee.sa_family) == family,
          flags & Int32(IFF_UP) != 0, flags & Int32(IFF_LOOPBACK) == 0
        else { continue }
        let length = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
        // A link-local address means something only together with the interface of who uses it.
        if let name = text(address, socklen_t(length)), !name.contains("%") { return name }
      }
    }
    return nil
  }

  private static func text(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> String? {
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    guard getnameinfo(address, length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST) == 0 else { return nil }
    return String(decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

extension ServerAddress {
  /// How it is written in a code: without what the reader would assume anyway.
  package var inCode: String {
    let name = host.contains(":") ? "[\(host)]" : host
    let port = self.port == ServerAddress.defaultPort ? "" : ":\(self.port)"
    let assumed: Scheme = ServerAddress.isLocal(host) ? .ws : .wss
    return scheme == assumed && path.isEmpty ? name + port : url
  }
}

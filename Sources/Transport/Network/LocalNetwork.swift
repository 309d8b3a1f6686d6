import CP2PFSNice
import P2PFSCore
import Glibc

/// The addresses of this computer, and which of them a connection offers. A plain value.
///
/// A computer may have dozens: bridges of containers, virtual networks. libnice gathers up to 64, a peer accepts no more
/// than `Limits.Transport.candidates` candidates of all kinds, and each costs a socket and a check with each of the
/// peer's.
struct LocalNetwork: Equatable {
  /// An address of an interface that is up.
  struct Address: Equatable {
    let interface: String
    /// IPv4 or IPv6 in text form, without a zone.
    let text: String
    /// Bits of the network's prefix.
    let prefix: Int
  }

  /// In the order of the interfaces.
  let addresses: [Address]
  /// The source addresses of packets into the Internet, by the routing table.
  let routed: Set<String>

  /// The addresses to offer, at most `Limits.Transport.addresses` of each family: those of default routes first, then
  /// others in the order of their interfaces; last come bridges of containers and virtual machines, where peers are rare.
  /// No loopback and no link-local addresses: other computers cannot use them.
  var offered: [String] {
    var left = (v4: Limits.Transport.addresses, v6: Limits.Transport.addresses)
    let usable = addresses.filter { !LocalNetwork.isOfOneLink($0.text) }
    let ranked = usable.enumerated().sorted { one, other in
      (rank(one.element), one.offset) < (rank(other.element), other.offset)
    }
    var seen: Set<String> = []
    return ranked.compactMap { _, address in
      guard seen.insert(address.text).inserted else { return nil }
      if address.text.contains(":") { left.v6 -= 1 } else { left.v4 -= 1 }
      return (address.text.contains(":") ? left.v6 : left.v4) >= 0 ? address.text : nil
    }
  }

  private func rank(_ address: Address) -> Int {
    if routed.contains(address.text) { return 0 }
    let isVirtual = LocalNetwork.virtual.contains { address.interface.hasPrefix($0) }
    return isVirtual ? 2 : 1
  }

  /// Prefixes of the names that container and virtualization software gives to interfaces.
  private static let virtual = [
    "docker", "br-", "veth", "virbr", "vnet", "cni", "flannel", "cali", "lxcbr", "lxdbr", "podman", "vmnet", "vboxnet",
  ]

  /// Whether to give `address`, a candidate of the peer, to libnice while these relays are in use. libnice has every relay
  /// send to every candidate. For a relay in the Internet a private IPv4 address is another computer, or has no route,
  /// upon which coturn ends the whole allocation. So a private address is wanted only if it is in a network of ours.
  func isWanted(_ address: String, relays: [String]) -> Bool {
    guard let bytes = ServerAddress.ipv4(address), LocalNetwork.isPrivate(bytes) else { return true }
    // A private relay is in our network and has the same routes. Relays are asked for IPv4 allocations only.
    guard relays.contains(where: { !LocalNetwork.isPrivate(relay: $0) }) else { return true }
    return addresses.contains { own in
      guard let other = ServerAddress.ipv4(own.text) else { return false }
      return LocalNetwork.network(of: bytes, own.prefix) == LocalNetwork.network(of: other, own.prefix)
    }
  }

  /// The first `prefix` bits of an IPv4 address.
  private static func network(of bytes: [UInt8], _ prefix: Int) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) } >> UInt64(32 - prefix)
  }

  /// A relay given by name counts as public, as most are.
  private static func isPrivate(relay: String) -> Bool {
    relay == "localhost" || ServerAddress.ipv4(relay).map(isPrivate) ?? false
  }

  /// Private (RFC 1918), of a provider's NAT (RFC 6598), loopback or link-local.
  private static func isPrivate(_ bytes: [UInt8]) -> Bool {
    switch (bytes[0], bytes[1]) {
    case (10, _), (127, _), (192, 168), (169, 254): true
    case (172, let second): (16...31).contains(second)
    case (100, let second): (64...127).contains(second)
    default: false
    }
  }

  /// Loopback or link-local.
  private static func isOfOneLink(_ text: String) -> Bool {
    if let v4 = ServerAddress.ipv4(text) { return v4[0] == 127 || v4[0] == 169 && v4[1] == 254 }
    guard let v6 = ServerAddress.ipv6(text) else { return true }
    return v6.prefix(15).allSatisfy { $0 == 0 } || v6[0] == 0xFE && v6[1] & 0xC0 == 0x80
  }
}

extension LocalNetwork {
  /// The current addresses. Asks the kernel; from any thread.
  static var current: LocalNetwork {
    let addresses = InterfaceAddress.all.compactMap { address in
      text(of: address.bytes).map { Address(interface: address.interface, text: $0, prefix: address.prefix) }
    }
    // Addresses for documentation (RFC 5737, RFC 3849), which stand for any address in the Internet.
    return LocalNetwork(addresses: addresses, routed: Set(["192.0.2.1", "2001:db8::1"].compactMap(source)))
  }

  /// The source address of packets to `address`; nil without a route.
  private static func source(towards address: String) -> String? {
    guard let target = ServerAddress.ipv4(address) ?? ServerAddress.ipv6(address) else { return nil }
    var source = [UInt8](repeating: 0, count: target.count)
    guard p2pfs_source_address(target.count == 4 ? AF_INET : AF_INET6, target, &source) == 0 else { return nil }
    return text(of: source)
  }

  private static func text(of bytes: [UInt8]) -> String? {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let family = bytes.count == 4 ? AF_INET : AF_INET6
    guard inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

import P2PFSCore
import NIOCore

/// Who a connection is counted as: an IPv4 address, or the /64 of an IPv6 one, which one customer has whole.
struct AddressKey: Hashable, Sendable {
  private let high: UInt64
  private let low: UInt64

  /// From four or sixteen bytes; IPv4 inside IPv6 counts as IPv4. Anything else is one address of its own.
  init(_ bytes: [UInt8]) {
    let number = { (part: ArraySlice<UInt8>) in part.reduce(0) { $0 << 8 | UInt64($1) } }
    let isMapped = bytes.count == 16 && number(bytes[..<8]) == 0 && number(bytes[8..<12]) == 0xFFFF
    switch bytes.count {
    case 4: (high, low) = (0, number(bytes[...]) | 0xFFFF << 32)
    case 16: (high, low) = isMapped ? (0, number(bytes[8...])) : (number(bytes[..<8]), 0)
    default: (high, low) = (.max, .max)
    }
  }

  /// From the address of a socket.
  init(_ address: SocketAddress?) { self.init(address?.ipBytes ?? []) }
}

extension SocketAddress {
  /// The four or sixteen bytes of the address, in the network's order.
  var ipBytes: [UInt8]? {
    withSockAddr { address, size -> [UInt8]? in
      let bytes = UnsafeRawBufferPointer(start: address, count: size)
      // sin_addr and sin6_addr of ip(7) and ipv6(7).
      return switch self.protocol {
      case .inet: Array(bytes[4..<8])
      case .inet6: Array(bytes[8..<24])
      default: nil
      }
    }
  }
}

/// Connections and joins of each address. No I/O, no clock.
struct AddressTable: Sendable {
  private struct Account {
    var connections = 0
    var joins: TokenBucket
  }

  private let bounds: SignalBounds
  private var accounts: [AddressKey: Account] = [:]

  init(bounds: SignalBounds) { self.bounds = bounds }

  /// Addresses that are remembered.
  var count: Int { accounts.count }

  /// Counts a connection; false if there are too many, and then it is not counted.
  mutating func connect(_ address: AddressKey, now: Instant) -> Bool {
    var account = account(address, now: now)
    guard account.connections < bounds.connectionsPerAddress else { return false }
    account.connections += 1
    accounts[address] = account
    return true
  }

  /// Takes back a connection that `connect` counted.
  mutating func disconnect(_ address: AddressKey, now: Instant) {
    guard var account = accounts[address] else { return }
    account.connections -= 1
    accounts[address] = account.connections == 0 && account.joins.isFull(now: now) ? nil : account
  }

  /// Counts a join; false if there were too many in the last minute.
  mutating func join(_ address: AddressKey, now: Instant) -> Bool {
    var account = account(address, now: now)
    defer { accounts[address] = account }
    return account.joins.take(1, now: now)
  }

  /// Forgets addresses without connections whose joins are a minute ago; all without connections if there are
  /// more than `Limits.Signaling.addresses`.
  mutating func prune(now: Instant) {
    accounts = accounts.filter { $0.value.connections > 0 || !$0.value.joins.isFull(now: now) }
    guard accounts.count > Limits.Signaling.addresses else { return }
    accounts = accounts.filter { $0.value.connections > 0 }
  }

  private func account(_ address: AddressKey, now: Instant) -> Account {
    let burst = Double(bounds.joinsPerMinute)
    return accounts[address] ?? Account(joins: TokenBucket(rate: burst / 60, burst: burst, now: now))
  }
}

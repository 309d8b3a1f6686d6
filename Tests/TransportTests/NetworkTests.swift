import P2PFSCore
import CP2PFSNice
import Glibc
import Testing

@testable import P2PFSTransport

private func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

private func message(_ type: UInt16, _ body: [UInt8], length: UInt32? = nil) -> [UInt8] {
  let padding = [UInt8](repeating: 0, count: (4 - body.count % 4) % 4)
  return bytes(length ?? UInt32(16 + body.count)) + bytes(type) + bytes(UInt16(0)) + bytes(UInt32(1))
    + bytes(UInt32(0)) + body + padding
}

private func attribute(_ type: UInt16, _ value: [UInt8], length: UInt16? = nil) -> [UInt8] {
  bytes(length ?? UInt16(4 + value.count)) + bytes(type) + value
    + [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
}

private func routeBody(flags: UInt32 = 0, _ attributes: [UInt8] = []) -> [UInt8] {
  [2, 0, 0, 0, 254, 0, 0, 1] + bytes(flags) + attributes
}

/// What the kernel says of the network, and what is made of it.
@Suite struct NetworkTests {
  private func tells(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { NetworkMessage.tellsOfChange($0) } }
  private func route(_ bytes: [UInt8]) -> NetworkMessage.Route? {
    bytes.withUnsafeBytes { NetworkMessage.route(in: $0) }
  }

  @Test(arguments: [(16, true), (17, true), (20, true), (21, true), (24, true), (25, true), (28, false), (2, false)])
  func linksAddressesAndRoutesMatter(type: UInt16, matters: Bool) {
    #expect(tells(message(type, routeBody())) == matters)
    #expect(tells(message(28, []) + message(type, routeBody())) == matters)
  }

  @Test func aRouteThatTheKernelOnlyRemembersDoesNot() {
    #expect(!tells(message(24, routeBody(flags: 0x200))))
  }

  @Test func anAnswerIsRead() {
    let attributes =
      attribute(1, [192, 0, 2, 1]) + attribute(4, bytes(UInt32(7))) + attribute(5, [10, 77, 1, 1])
      + attribute(7, [10, 77, 1, 2])
    let expected = NetworkMessage.Route(interface: 7, gateway: [10, 77, 1, 1], source: [10, 77, 1, 2])
    #expect(route(message(24, routeBody(flags: 0x200, attributes))) == expected)
    // No route: an error.
    #expect(route(message(2, bytes(Int32(-101)) + [UInt8](repeating: 0, count: 16))) == nil)
  }

  @Test(arguments: [
    [], [1, 2, 3], message(24, routeBody(), length: 0), message(24, routeBody(), length: 15),
    message(24, routeBody(), length: .max), message(24, [2, 0, 0]),
    message(24, routeBody(attribute(4, [1]))), message(24, routeBody(attribute(4, [], length: 0))),
    message(24, routeBody(attribute(5, [1, 2], length: 400))), message(24, routeBody([9, 0])),
    message(24, routeBody(attribute(5, [UInt8](repeating: 1, count: 200)))),
  ])
  func whatIsMalformedIsPassedOver(_ bytes: [UInt8]) {
    _ = tells(bytes)
    #expect(route(bytes) ?? .init() == .init())
  }

  @Test func theStateOfThisComputerIsTheSameTwice() {
    #expect(NetworkState.now() == NetworkState.now())
  }

  @Test func sleepIsNoticed() {
    var wakefulness = Wakefulness(at: Instant(nanoseconds: 0))
    let slept = [1, 2.5, 20, 21].map { wakefulness.hasSlept(until: Instant(nanoseconds: UInt64($0 * 1e9))) }
    #expect(slept == [false, false, true, false])
  }

  @Test func aDatagramThatCannotBeSentIsLostAndThoseAfterItLeave() {
    // From loopback nothing leaves for another computer: EINVAL, as from an address that is gone.
    let socket = g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_DATAGRAM, G_SOCKET_PROTOCOL_UDP, nil)
    guard let socket else {
      Issue.record("no socket")
      return
    }
    var own = sockaddr_in()
    own.sin_family = sa_family_t(AF_INET)
    own.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let bound = withUnsafePointer(to: &own) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(g_socket_get_fd(socket), $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    #expect(bound == 0)
    var other = own
    other.sin_addr.s_addr = UInt32(0xc000_0201).bigEndian
    other.sin_port = UInt16(9).bigEndian
    let direct = DirectSocket(socket, to: withUnsafeBytes(of: other) { Array($0) })
    for count in [1, 1, 3] {
      var batch = DatagramBatch()
      for _ in 0..<count { [UInt8](repeating: 7, count: 100).withUnsafeBytes { batch.add($0) } }
      let isSent = direct.send(&batch)
      let isEmpty = batch.isEmpty
      #expect(isSent && isEmpty && direct.isFailing)
    }
  }
}

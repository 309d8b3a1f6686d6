import P2PFSCore
import Testing

@testable import P2PFSTransport

@Suite struct LocalNetworkTests {
  private func address(_ interface: String, _ text: String, _ prefix: Int = 24) -> LocalNetwork.Address {
    .init(interface: interface, text: text, prefix: prefix)
  }

  @Test func theDefaultRouteComesFirstAndBridgesOfContainersLast() {
    let network = LocalNetwork(
      addresses: [
        address("lo", "127.0.0.1", 8), address("docker0", "172.17.0.1", 16), address("br-1f", "172.18.0.1", 16),
        address("wg0", "10.8.0.2"), address("eth0", "192.168.1.7"), address("eth0", "fe80::1", 64),
        address("eth0", "2001:db8::7", 64), address("eth1", "169.254.3.4", 16), address("lo", "::1", 128),
        address("wlan0", "192.168.1.7"),
      ], routed: ["192.168.1.7", "2001:db8::7"])
    #expect(network.offered == ["192.168.1.7", "2001:db8::7", "10.8.0.2", "172.17.0.1", "172.18.0.1"])
  }

  @Test func ofFortyInterfacesAFewAreOfferedAndTheRoutedOneAmongThem() {
    let bridges = (1...40).map { address("br\($0)", "172.17.\($0).1") }
    let others = (1...40).map { address("br\($0)", "fd00::\($0)") }
    let network = LocalNetwork(addresses: bridges + others + [address("eth0", "10.99.1.2")], routed: ["10.99.1.2"])
    let offered = network.offered
    #expect(offered.first == "10.99.1.2" && offered.count == 2 * Limits.Transport.addresses)
    #expect(offered.contains("172.17.6.1") && !offered.contains("172.17.7.1") && offered.contains("fd00::7"))
    #expect(LocalNetwork(addresses: [], routed: []).offered == [])
  }

  @Test func aRelayInTheInternetIsNotAskedForPrivateAddressesOfOtherNetworks() {
    let network = LocalNetwork(addresses: [address("eth0", "10.1.2.3", 16), address("lo", "127.0.0.1", 8)], routed: [])
    let (open, near) = (["198.51.100.10", "turn.example.org"], ["10.0.0.1"])
    for foreign in ["10.2.0.1", "192.168.0.1", "172.16.0.1", "172.31.255.1", "100.64.0.1", "169.254.0.1"] {
      #expect(!network.isWanted(foreign, relays: open), "\(foreign)")
      #expect(network.isWanted(foreign, relays: near) && network.isWanted(foreign, relays: []), "\(foreign)")
    }
    for wanted in ["10.1.200.1", "203.0.113.7", "172.32.0.1", "100.128.0.1", "2001:db8::1", "fd00::1"] {
      #expect(network.isWanted(wanted, relays: open), "\(wanted)")
    }
  }

  @Test func manyLocalAddressesDoNotTakeTheRelaysPlaces() {
    var count = CandidateCount()
    for _ in 0..<40 where count.admits(.host) { count.add(.host) }
    #expect(!count.admits(.host) && count.admits(.srflx) && count.admits(.relay))
    for _ in 0..<40 where count.admits(.relay) { count.add(.relay) }
    #expect(!count.admits(.relay) && count.admits(.srflx))
  }

  @Test func theAddressesOfThisComputerAreFound() {
    let network = LocalNetwork.current
    #expect(network.addresses.contains { $0.text == "127.0.0.1" && $0.prefix == 8 })
    for address in network.offered { #expect(!address.hasPrefix("127.") && address != "::1") }
  }
}

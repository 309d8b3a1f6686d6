import P2PFSCore
import Rig
import Testing

@testable import P2PFSTransport

/// Which acknowledgements SCTP is to see while it recovers.
@Suite struct LossRecoveryTests {
  private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: 5_000_000_000).advanced(by: seconds) }

  /// A packet of one SACK chunk with `holes`.
  private func sack(holes: UInt8, extra: Int = 0, kind: UInt8 = 3) -> [UInt8] {
    let length = 16 + Int(holes) * 4
    var packet = [UInt8](repeating: 0, count: 12 + length + extra)
    packet[12] = kind
    (packet[14], packet[15]) = (UInt8(length >> 8), UInt8(length & 0xff))
    packet[25] = holes
    return packet
  }

  private func takes(
    _ recovery: inout LossRecovery, _ packet: [UInt8], cumulative: UInt32, at time: Double
  ) -> Bool {
    packet.withUnsafeBytes { recovery.takes($0, cumulative: cumulative, at: at(time), roundTrip: 0.1) }
  }

  @Test func `without a loss all pass`() {
    var recovery = LossRecovery()
    for number in 0..<100 as Range<UInt32> {
      holds(takes(&recovery, sack(holes: 3), cumulative: number, at: 0))
    }
  }

  @Test func `while it recovers those with holes pass twice a round trip, and all others always`() {
    var recovery = LossRecovery()
    recovery.begin(until: 1_000)
    let passed = (0..<1_000).count { takes(&recovery, sack(holes: 3), cumulative: 500, at: Double($0) / 1_000) }
    #expect((19...20).contains(passed))
    holds(takes(&recovery, sack(holes: 0), cumulative: 600, at: 1))
    // Data behind the acknowledgement, or no acknowledgement at all.
    holds(takes(&recovery, sack(holes: 3, extra: 20), cumulative: 600, at: 1))
    holds(takes(&recovery, sack(holes: 3, kind: 0), cumulative: 600, at: 1))
  }

  @Test func `it ends when all is acknowledged, also where the numbers begin again`() {
    var recovery = LossRecovery()
    recovery.begin(until: 5)
    // A later loss does not make it last longer.
    recovery.begin(until: 5_000)
    _ = takes(&recovery, sack(holes: 1), cumulative: .max - 10, at: 0)
    holds(!takes(&recovery, sack(holes: 1), cumulative: .max - 10, at: 0.01))
    holds(takes(&recovery, sack(holes: 1), cumulative: 5, at: 0.02))
    holds(takes(&recovery, sack(holes: 1), cumulative: 4, at: 0.021))
  }

  @Test func `a packet of any length is looked at within it`() {
    var recovery = LossRecovery()
    recovery.begin(until: 1_000)
    for count in 0...27 {
      var packet = [UInt8](repeating: 0xff, count: count)
      if count > 12 { packet[12] = 3 }
      holds(takes(&recovery, packet, cumulative: 1, at: 0))
    }
  }
}

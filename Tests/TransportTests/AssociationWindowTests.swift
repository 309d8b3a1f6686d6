import P2PFSCore
import Synchronization
import Testing

@testable import P2PFSTransport

/// Two associations in one process, whose packets go from one to the other on the transport thread.
@Suite struct AssociationWindowTests {
  /// One end: keeps the windows that its packets announce, by the type of their first chunk.
  private final class End: PacketCarrier, AssociationOwner, @unchecked Sendable {
    // All on the transport thread.
    var association: Association?
    var windows: [UInt8: [UInt32]] = [:]
    var packets: [[UInt8]] = []
    var isUp = false

    func carry(_ packet: UnsafeRawBufferPointer) {
      packets.append(Array(packet))
      guard packet.count >= 24, [1, 2, 3].contains(packet[12]) else { return }
      // INIT and INIT ACK have a tag before the window, SACK the cumulative number.
      let window = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: 20, as: UInt32.self))
      windows[packet[12], default: []].append(window)
    }
    func associationUp() { isUp = true }
    func association(received frame: Frame, stream: UInt16, protocolID: UInt32) {}
    func association(reset streams: [UInt16], incoming: Bool) {}
    func associationAdvanced() {}
    func associationEnded(_ error: TransportError) {}
  }

  @Test func `INIT announces a wide window, and the data that follows finds the one that is granted`() async throws {
    let small = 262_144
    typealias Result = (isUp: Bool, first: [UInt32], later: [UInt32])
    let result = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Result, any Error>) in
      TransportThread.shared.enqueue {
        do {
          let (guest, host) = (End(), End())
          let one = try Association(
            owner: guest, carrier: guest, port: 5_000, remotePort: 5_001, receiveBuffer: Limits.Transport.flight)
          let other = try Association(owner: host, carrier: host, port: 5_001, remotePort: 5_000, receiveBuffer: small)
          (guest.association, host.association) = (one, other)
          func exchange() {
            while !guest.packets.isEmpty || !host.packets.isEmpty {
              let (sent, answered) = (guest.packets, host.packets)
              (guest.packets, host.packets) = ([], [])
              for packet in sent { packet.withUnsafeBytes { other.input($0, at: .now) } }
              for packet in answered { packet.withUnsafeBytes { one.input($0, at: .now) } }
            }
          }
          try one.connect(mtu: 1_200)
          try other.connect(mtu: 1_200)
          exchange()
          for _ in 0..<4 {
            _ = [UInt8](repeating: 1, count: 1_000).withUnsafeBytes { one.send($0, stream: 0, protocolID: 53) }
            exchange()
          }
          done.resume(
            returning: (
              guest.isUp && host.isUp, (host.windows[1] ?? []) + (host.windows[2] ?? []), host.windows[3] ?? []
            ))
          one.close()
          other.close()
        } catch { done.resume(throwing: error) }
      }
    }
    #expect(result.isUp)
    #expect(!result.first.isEmpty && result.first.allSatisfy { $0 >= UInt32(Limits.Transport.firstWindow) })
    #expect(!result.later.isEmpty && result.later.allSatisfy { $0 <= UInt32(small) })
  }
}

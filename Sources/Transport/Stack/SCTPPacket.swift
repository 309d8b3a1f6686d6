/// A look at an SCTP packet, for measurements: RFC 9260 section 3. Reads no byte beyond its end.
///
/// ```
/// common header: ports (4) ‖ verification tag (4) ‖ checksum (4)
/// chunk:         type (1) ‖ flags (1) ‖ length (2) ‖ value …           padded to 4 bytes; the length has no padding
/// DATA (0):      … ‖ TSN (4) ‖ …
/// SACK (3):      … ‖ cumulative TSN (4) ‖ window (4) ‖ gap blocks (2) ‖ duplicates (2) ‖ …
/// ```
struct SCTPPacket {
  private let bytes: UnsafeRawBufferPointer
  private static let header = 12
  private static let data: UInt8 = 0
  private static let acknowledgement: UInt8 = 3

  /// The packet in these bytes, which must outlive it.
  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The transmission sequence number of the first DATA chunk.
  var dataNumber: UInt32? { number(of: SCTPPacket.data) }

  /// Up to which number a selective acknowledgement (SACK) in the packet acknowledges everything.
  var cumulativeAcknowledgement: UInt32? { number(of: SCTPPacket.acknowledgement) }

  /// Whether the packet is one selective acknowledgement with gaps, and nothing else.
  var isOnlyAcknowledgementWithGaps: Bool {
    guard bytes.count >= SCTPPacket.header + 16, bytes[SCTPPacket.header] == SCTPPacket.acknowledgement else {
      return false
    }
    return bytes[SCTPPacket.header + 12] | bytes[SCTPPacket.header + 13] != 0
      && length(at: SCTPPacket.header) + SCTPPacket.header >= bytes.count
  }

  /// The number behind the header of the first chunk of a type. Only the first four chunks are looked at: those behind
  /// them are of no interest to a measurement.
  private func number(of type: UInt8) -> UInt32? {
    var offset = SCTPPacket.header
    for _ in 0..<4 {
      guard offset + 8 <= bytes.count else { return nil }
      if bytes[offset] == type {
        return UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
      }
      let length = length(at: offset)
      guard length >= 4 else { return nil }
      offset += (length + 3) & ~3
    }
    return nil
  }

  private func length(at chunk: Int) -> Int {
    Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: chunk + 2, as: UInt16.self)))
  }
}

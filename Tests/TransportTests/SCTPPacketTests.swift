import P2PFSCore
import Testing

@testable import P2PFSTransport

@Suite struct SCTPPacketTests {
  private let header = [UInt8](repeating: 0xee, count: 12)
  private let acknowledgement: [UInt8] = [3, 0, 0, 16, 1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 0]
  private let gaps: [UInt8] = [3, 0, 0, 20, 1, 2, 3, 4, 0, 0, 0, 9, 0, 1, 0, 0, 0, 2, 0, 3]
  private let data: [UInt8] = [0, 3, 0, 17, 9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 0]

  private func look<Value>(_ bytes: [UInt8], _ body: (SCTPPacket) -> Value) -> Value {
    bytes.withUnsafeBytes { body(SCTPPacket($0)) }
  }

  @Test func `numbers are found behind other chunks, with their padding`() {
    #expect(look(header + data, \.dataNumber) == 0x0908_0706)
    #expect(look(header + data, \.cumulativeAcknowledgement) == nil)
    #expect(look(header + data + acknowledgement, \.cumulativeAcknowledgement) == 0x0102_0304)
    #expect(look(header + acknowledgement + data, \.dataNumber) == 0x0908_0706)
  }

  @Test func `only an acknowledgement with gaps and nothing behind it counts as one`() {
    #expect(look(header + gaps, \.isOnlyAcknowledgementWithGaps))
    #expect(!look(header + acknowledgement, \.isOnlyAcknowledgementWithGaps))
    #expect(!look(header + gaps + data, \.isOnlyAcknowledgementWithGaps))
    #expect(!look(header + data, \.isOnlyAcknowledgementWithGaps))
  }

  @Test func `packets that are cut or lie about lengths are read within their bounds`() {
    let whole = header + data + gaps
    for count in 0..<whole.count {
      for index in 0..<count {
        var bytes = Array(whole.prefix(count))
        bytes[index] = 0xff
        _ = look(bytes) { ($0.dataNumber, $0.cumulativeAcknowledgement, $0.isOnlyAcknowledgementWithGaps) }
      }
    }
    #expect(look(header + [7, 0, 0, 0] + data, \.dataNumber) == nil, "a chunk of no length")
  }

  @Test func `in recovery, acknowledgements with gaps pass twice a round trip until all is acknowledged`() {
    var recovery = LossRecovery()
    func takes(_ bytes: [UInt8], _ number: UInt32, at seconds: Double) -> Bool {
      bytes.withUnsafeBytes {
        recovery.takes($0, cumulative: number, at: Instant(nanoseconds: UInt64(seconds * 1e9)), roundTrip: 0.1)
      }
    }
    #expect(takes(header + gaps, 1, at: 1) && takes(header + gaps, 1, at: 1))
    recovery.begin(until: 9)
    #expect(takes(header + gaps, 1, at: 1.01))
    #expect(!takes(header + gaps, 2, at: 1.02))
    #expect(takes(header + acknowledgement, 2, at: 1.02))
    #expect(takes(header + gaps, 3, at: 1.07))
    #expect(takes(header + gaps, 9, at: 1.08))
    #expect(takes(header + gaps, 9, at: 1.08), "recovered")
  }
}

@Suite struct PartialMessageTests {
  @Test func `a message in many parts is copied a few times only`() {
    var message = PartialMessage(Frame(copying: [0]))
    var buffers: Set<UInt> = []
    for index in 1..<Limits.Wire.message {
      let part = Frame(copying: [UInt8(truncatingIfNeeded: index)])
      let isTaken = message.append(part)
      #expect(isTaken)
      buffers.insert(UInt(bitPattern: message.frame.base))
    }
    #expect(buffers.count <= 17)
    #expect(message.frame.count == Limits.Wire.message)
    let isRight = message.frame.bytes.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0) }
    #expect(isRight)
    let isTooLongTaken = message.append(Frame(copying: [0]))
    #expect(!isTooLongTaken)
  }
}

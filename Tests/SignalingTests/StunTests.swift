import Glibc
import Rig
import Testing

@testable import P2PFSSignaling

@Suite(.onThreads) struct StunTests {
  private static let transaction: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  private static let cookie: [UInt8] = [0x21, 0x12, 0xA4, 0x42]
  private static let request: [UInt8] = [0, 1, 0, 0] + cookie + transaction

  @Test("An answer is right in every byte, for IPv4")
  func ipv4() {
    let answer = StunMessage.answer(to: Self.request, address: [192, 0, 2, 1], port: 32853)
    // RFC 5769, section 2.2, has the same address and port: 0xa147e112a643 with the cookie's mask.
    #expect(
      answer == [1, 1, 0, 12] + Self.cookie + Self.transaction + [
        0, 0x20, 0, 8, 0, 1, 0xA1, 0x47, 0xE1, 0x12, 0xA6, 0x43,
      ])
    let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF, 192, 0, 2, 1]
    #expect(StunMessage.answer(to: Self.request, address: mapped, port: 32853) == answer)
  }

  @Test("An answer is right in every byte, for IPv6")
  func ipv6() {
    // RFC 5769, section 2.3: address, port, transaction and masked value.
    let transaction: [UInt8] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]
    let address: [UInt8] = [
      0x20, 0x01, 0x0d, 0xb8, 0x12, 0x34, 0x56, 0x78, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
    ]
    let answer = StunMessage.answer(to: [0, 1, 0, 0] + Self.cookie + transaction, address: address, port: 32853)
    #expect(
      answer == [1, 1, 0, 24] + Self.cookie + transaction + [
        0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
        0xd2, 0xb9, 0xd9,
      ])
  }

  @Test("A request without the cookie, as libnice sends it, is answered as RFC 3489 has it")
  func classic() {
    let transaction: [UInt8] = (1...16).map { $0 }
    let answer = StunMessage.answer(to: [0, 1, 0, 0] + transaction, address: [192, 0, 2, 1], port: 32853)
    #expect(answer == [1, 1, 0, 12] + transaction + [0, 1, 0, 8, 0, 1, 0x80, 0x55, 192, 0, 2, 1])
  }

  @Test("A request with FINGERPRINT gets one, over the answer")
  func fingerprint() throws {
    // The empty request of this transaction with its checksum, as zlib computes it.
    let header: [UInt8] = [0, 1, 0, 8] + Self.cookie + Self.transaction
    let request = header + [0x80, 0x28, 0, 4] + checksum(header)
    let answer = try #require(StunMessage.answer(to: request, address: [192, 0, 2, 1], port: 32853))
    #expect(answer.count == 40)
    #expect(answer[3] == 20)
    #expect(Array(answer.suffix(8)) == [0x80, 0x28, 0, 4] + checksum(Array(answer.dropLast(8))))
    #expect(
      StunMessage.answer(to: Array(request.dropLast()) + [request[27] ^ 1], address: [1, 1, 1, 1], port: 1) == nil)
  }

  /// CRC-32 by another way than the code under test: polynomial division, most significant bit first.
  private func checksum(_ bytes: [UInt8]) -> [UInt8] {
    var remainder: UInt64 = 0
    let reversed = bytes.map { byte in (0..<8).reduce(UInt8(0)) { $0 << 1 | (byte >> UInt8($1) & 1) } }
    for (index, byte) in (reversed + [0, 0, 0, 0]).enumerated() {
      let byte = index < 4 ? ~byte : byte
      for bit in (0..<8).reversed() {
        remainder = remainder << 1 | UInt64(byte >> UInt8(bit) & 1)
        if remainder >> 32 & 1 == 1 { remainder ^= 0x1_04C1_1DB7 }
      }
    }
    let mirrored = (0..<32).reduce(UInt32(0)) { $0 << 1 | UInt32(remainder >> UInt64($1) & 1) }
    return withUnsafeBytes(of: (~mirrored ^ 0x5354_554E).bigEndian) { Array($0) }
  }

  @Test("Everything else is met with silence")
  func silence() {
    let request = Self.request
    var requests: [[UInt8]] = (0..<20).map { Array(request.prefix($0)) }
    requests += [
      request + [0], request + [0, 0, 0, 0], [0, 1, 0, 4] + request[4...], [0, 1, 0, 1] + request[4...] + [0],
      [1, 1, 0, 0] + request[4...], [0, 0x11, 0, 0] + request[4...], [0, 3, 0, 0] + request[4...],
      [0x40, 1, 0, 0] + request[4...], [0, 1, 0, 4, 0x21, 0x12, 0xA4, 0x43] + request[8...] + [0x80, 0x22, 0, 0],
      // An attribute that would have to be understood; one that runs out of the message; a FINGERPRINT before another.
      [0, 1, 0, 8] + request[4...] + [0, 3, 0, 4, 0, 0, 0, 6],
      [0, 1, 0, 8] + request[4...] + [0x80, 0x22, 0, 5, 65, 65, 65, 65],
      [0, 1, 0, 8] + request[4...] + [0x80, 0x22, 0xFF, 0xFF, 65, 65, 65, 65],
      [0, 1, 0, 12] + request[4...] + [0x80, 0x28, 0, 4, 0, 0, 0, 0, 0x80, 0x22, 0, 0],
    ]
    for request in requests { #expect(StunMessage.answer(to: request, address: [1, 2, 3, 4], port: 5) == nil) }
    #expect(StunMessage.answer(to: request, address: [1, 2, 3], port: 5) == nil)
  }

  @Test("Attributes that may be passed over are")
  func software() {
    let request: [UInt8] = [0, 1, 0, 8] + Self.request[4...] + [0x80, 0x22, 0, 3, 65, 65, 65, 0]
    #expect(StunMessage.answer(to: request, address: [1, 2, 3, 4], port: 5)?.count == 32)
  }

  @Test("The server answers over UDP at its own port, with the sender's address")
  func overUDP() async throws {
    let (server, _) = try await startServer()
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(descriptor) }
    var timeout = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    _ = Loopback.with(port: server.port) { connect(descriptor, $0, $1) }
    _ = send(descriptor, [1, 2, 3], 3, 0)
    _ = send(descriptor, Self.request, Self.request.count, 0)
    var buffer = [UInt8](repeating: 0, count: 100)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    let port = Loopback.port(of: descriptor)
    #expect(count == 32)
    #expect(Array(buffer.prefix(32)) == StunMessage.answer(to: Self.request, address: [127, 0, 0, 1], port: port))
    await server.shutdown()
  }
}

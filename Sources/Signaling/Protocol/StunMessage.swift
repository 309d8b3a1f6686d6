/// The STUN that this server speaks (RFC 8489): Binding, and nothing else.
///
///     0                   1                   2                   3
///     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     |0 0|     type      |          length of attributes             |
///     |                         magic cookie                          |
///     |                   transaction ID (96 bits)                    |
///     |   attribute type      |      length       | value, padded to 4|
enum StunMessage {
  private static let cookie: [UInt8] = [0x21, 0x12, 0xA4, 0x42]
  private static let fingerprintType: UInt16 = 0x8028

  /// The answer to a Binding request that came from the address of 4 or 16 bytes and the port; nil for everything
  /// else, requests with attributes that would have to be understood among it. IPv4 inside IPv6 is told as IPv4.
  /// At most 52 bytes for 20: nothing for a reflector. A request without the magic cookie is one of RFC 3489, as libnice
  /// sends it to find its address, and is answered in kind (section 11). FINGERPRINT is added if the request has one.
  static func answer(to request: some Collection<UInt8>, address: [UInt8], port: UInt16) -> [UInt8]? {
    let request = Array(request)
    guard request.count >= 20, request.count % 4 == 0, request[0] == 0, request[1] == 1,
      Int(request[2]) << 8 | Int(request[3]) == request.count - 20
    else { return nil }
    let isClassic = Array(request[4..<8]) != cookie
    // Nothing but the bare request of the older protocol, whose attributes all had to be understood.
    guard !isClassic || request.count == 20 else { return nil }
    guard let hasFingerprint = hasFingerprint(request) else { return nil }
    var bytes = address
    if bytes.count == 16, bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF {
      bytes = Array(bytes[12...])
    }
    guard bytes.count == 4 || bytes.count == 16 else { return nil }

    // XOR-MAPPED-ADDRESS (section 14.2): the port with the cookie's first half, the address with cookie ‖ transaction.
    // MAPPED-ADDRESS (section 14.1) is the same without the mask.
    let mask = isClassic ? [UInt8](repeating: 0, count: 16) : Array(request[4..<20])
    let value =
      [0, bytes.count == 4 ? 1 : 2, UInt8(port >> 8) ^ mask[0], UInt8(port & 0xFF) ^ mask[1]]
      + zip(bytes, mask).map { $0 ^ $1 }
    let attributes = [0x00, isClassic ? 0x01 : 0x20, 0, UInt8(value.count)] + value
    let length = attributes.count + (hasFingerprint ? 8 : 0)
    var answer = [0x01, 0x01, 0, UInt8(length)] + request[4..<20] + attributes
    if hasFingerprint {
      // Section 14.7: CRC-32 of all before it, with the length that includes it, XOR "STUN".
      let checksum = crc32(answer) ^ 0x5354_554E
      answer += [0x80, 0x28, 0, 4] + withUnsafeBytes(of: checksum.bigEndian) { Array($0) }
    }
    return answer
  }

  /// Whether there is a FINGERPRINT, last and right; nil if the attributes do not fit, one of them must be understood
  /// and is not (types below 0x8000), or the FINGERPRINT is wrong.
  private static func hasFingerprint(_ request: [UInt8]) -> Bool? {
    var offset = 20
    while offset < request.count {
      guard request.count - offset >= 4 else { return nil }
      let type = UInt16(request[offset]) << 8 | UInt16(request[offset + 1])
      let length = Int(request[offset + 2]) << 8 | Int(request[offset + 3])
      let end = offset + 4 + (length + 3) & ~3
      guard end <= request.count, type >= 0x8000 else { return nil }
      if type == fingerprintType {
        guard length == 4, end == request.count else { return nil }
        let expected = crc32(request[..<offset]) ^ 0x5354_554E
        return withUnsafeBytes(of: expected.bigEndian) { Array($0) } == Array(request[(offset + 4)...]) ? true : nil
      }
      offset = end
    }
    return false
  }

  /// CRC-32 of ITU V.42, bit by bit: forty bytes need no table.
  private static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }
    return ~crc
  }
}

import P2PFSCore

/// The purpose of a channel of p2pfs-forward(1), which is encoded in its name.
///
/// ```
/// forward:check:ENDPOINT          guest → host   May I connect to it? The answer is that the channel is accepted.
/// forward:connect:ENDPOINT        guest → host   A connection to it, accepted once it is made. Bytes.
/// forward:listen:NUMBER:ENDPOINT  guest → host   Listen there as long as this channel lives. Accepted once it is so;
///                                                then the host sends the port (16 bits, little-endian; 0: no TCP).
/// forward:accepted:NUMBER         host → guest   A connection that came to that listener. Bytes.
/// ```
/// ENDPOINT is the text form of an `Endpoint`, NUMBER one of 0 to 255 that the guest has chosen. A request that is not
/// allowed is reset as refused, a failure as failed, both with the reason.
enum ForwardName: Equatable {
  case check(Endpoint)
  case connect(Endpoint)
  case listen(UInt8, Endpoint)
  case accepted(UInt8)

  /// The purpose of a channel that the peer has named; nil if it is not for forwarding.
  init?(parsing name: String) {
    // Longer than any name of ours, or with control characters.
    guard name.utf8.count <= Limits.Channel.name, !name.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
      return nil
    }
    let parts = name.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "forward" else { return nil }
    switch parts[1] {
    case "check":
      guard let endpoint = Self.endpoint(parts[2], for: .connecting) else { return nil }
      self = .check(endpoint)
    case "connect":
      guard let endpoint = Self.endpoint(parts[2], for: .connecting) else { return nil }
      self = .connect(endpoint)
    case "listen":
      let rest = parts[2].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard rest.count == 2, let number = Self.number(rest[0]),
        let endpoint = Self.endpoint(rest[1], for: .listening)
      else { return nil }
      self = .listen(number, endpoint)
    case "accepted":
      guard let number = Self.number(parts[2]) else { return nil }
      self = .accepted(number)
    default: return nil
    }
  }

  private static func endpoint(_ text: Substring, for use: Endpoint.Use) -> Endpoint? {
    // Only the one spelling, so that the compared text is the endpoint that is used.
    guard let endpoint = try? Endpoint(parsing: String(text), for: use),
      endpoint.text.utf8.elementsEqual(text.utf8)
    else { return nil }
    return endpoint
  }

  private static func number(_ text: Substring) -> UInt8? {
    guard text.utf8.count <= 3, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt8(text)
  }

  /// The name of the channel: at most `Limits.Channel.name` bytes.
  var text: String {
    switch self {
    case .check(let endpoint): "forward:check:\(endpoint.text)"
    case .connect(let endpoint): "forward:connect:\(endpoint.text)"
    case .listen(let number, let endpoint): "forward:listen:\(number):\(endpoint.text)"
    case .accepted(let number): "forward:accepted:\(number)"
    }
  }
}

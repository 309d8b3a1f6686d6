import P2PFSCore
import Glibc

/// One address at which a peer may be reached: the candidate attribute of RFC 8839 section 5.1, UDP only.
package struct Candidate: Sendable, Hashable, CustomStringConvertible {
  /// How the address was learned, RFC 8445 section 4.
  package enum Kind: String, Sendable {
    case host, srflx, prflx, relay
  }

  /// Equal for candidates of one kind, base and server; 1 to 32 ice-chars.
  package var foundation: String
  /// 1 for data channels.
  package var component: UInt16
  package var priority: UInt32
  /// An IPv4 or IPv6 address in text form. Names (mDNS) are not resolved: such candidates are refused by `ICEAgent`.
  package var address: String
  package var port: UInt16
  package var kind: Kind
  /// The base of a reflexive or relayed candidate.
  package var relatedAddress: String?
  package var relatedPort: UInt16?

  /// A candidate with these attributes; `component` is 1.
  package init(
    foundation: String, priority: UInt32, address: String, port: UInt16, kind: Kind, relatedAddress: String? = nil,
    relatedPort: UInt16? = nil
  ) {
    self.foundation = foundation
    component = 1
    self.priority = priority
    self.address = address
    self.port = port
    self.kind = kind
    self.relatedAddress = relatedAddress
    self.relatedPort = relatedPort
  }

  /// Whether the address is link-local: in fe80::/10 or 169.254.0.0/16.
  package var isLinkLocal: Bool {
    let address = address.lowercased()
    return ["fe8", "fe9", "fea", "feb", "169.254."].contains { address.hasPrefix($0) }
  }

  /// Parses `candidate:…`, with or without a leading `a=`.
  /// - Returns: nil for a candidate of another transport than UDP or of another component, which is to be ignored.
  /// - Throws: `MalformedDescription`.
  package static func parse(_ text: some StringProtocol) throws(MalformedDescription) -> Candidate? {
    guard text.utf8.count <= Limits.Transport.line else { throw MalformedDescription("candidate too long") }
    var rest = Substring(text)
    if rest.hasPrefix("a=") { rest = rest.dropFirst(2) }
    guard rest.hasPrefix("candidate:") else { throw MalformedDescription("not a candidate") }
    let words = rest.dropFirst(10).split(separator: " ", omittingEmptySubsequences: true)
    guard words.count >= 8, words.count <= 64, words[6] == "typ" else { throw MalformedDescription("candidate") }
    guard (1...32).contains(words[0].utf8.count), words[0].utf8.allSatisfy(isICECharacter) else {
      throw MalformedDescription("candidate foundation")
    }
    guard let component = UInt16(decimal: words[1]), (1...256).contains(component) else {
      throw MalformedDescription("candidate component")
    }
    guard let priority = UInt32(decimal: words[3]), priority > 0 else {
      throw MalformedDescription("candidate priority")
    }
    guard words[4].utf8.count <= 255, words[4].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }),
      let port = UInt16(decimal: words[5])
    else { throw MalformedDescription("candidate address") }
    guard words[2].lowercased() == "udp", component == 1 else { return nil }
    guard let kind = Kind(rawValue: String(words[7])) else { return nil }
    guard port != 0 else { throw MalformedDescription("candidate port") }
    var candidate = Candidate(
      foundation: String(words[0]), priority: priority, address: String(words[4]), port: port, kind: kind)
    var index = 8
    while index + 1 < words.count {
      switch words[index] {
      case "raddr": candidate.relatedAddress = String(words[index + 1])
      case "rport":
        guard let port = UInt16(decimal: words[index + 1]) else { throw MalformedDescription("candidate rport") }
        candidate.relatedPort = port
      default: break  // extensions (generation, network-cost, …) are ignored, RFC 8839 section 5.1
      }
      index += 2
    }
    if candidate.relatedAddress == nil || candidate.relatedPort == nil {
      candidate.relatedAddress = nil
      candidate.relatedPort = nil
    }
    return candidate
  }

  /// The attribute's value: `candidate:…` without `a=`.
  package var description: String {
    var text = "candidate:\(foundation) \(component) UDP \(priority) \(address) \(port) typ \(kind.rawValue)"
    if let relatedAddress, let relatedPort { text += " raddr \(relatedAddress) rport \(relatedPort)" }
    return text
  }
}

/// Counts one side's candidates by kind. Each kind has a limit of its own, so that many local addresses cannot crowd out
/// relays. A plain value.
struct CandidateCount: Equatable {
  private var counts: [Candidate.Kind: Int] = [:]

  private static func bound(_ kind: Candidate.Kind) -> Int {
    switch kind {
    case .host: Limits.Transport.hostCandidates
    case .srflx, .prflx: Limits.Transport.reflexiveCandidates
    case .relay: Limits.Transport.candidates - Limits.Transport.hostCandidates - Limits.Transport.reflexiveCandidates
    }
  }

  /// Whether there is room for one more.
  func admits(_ kind: Candidate.Kind) -> Bool { counts[kind, default: 0] < CandidateCount.bound(kind) }

  /// Counts one candidate.
  mutating func add(_ kind: Candidate.Kind) { counts[kind, default: 0] += 1 }
}

/// `ice-char` of RFC 8839: letters, digits, `+` and `/`.
func isICECharacter(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"),
    UInt8(ascii: "+"), UInt8(ascii: "/"):
    true
  default: false
  }
}

extension FixedWidthInteger {
  /// Parses a number of decimal digits only: no sign, no space.
  init?(decimal text: some StringProtocol) {
    guard !text.isEmpty, text.utf8.count <= 20, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    self.init(text)
  }
}

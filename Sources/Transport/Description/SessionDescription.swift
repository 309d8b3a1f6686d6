import P2PFSCore

/// A session description or candidate that breaks its format.
package struct MalformedDescription: Error, Sendable, CustomStringConvertible {
  /// The reason.
  package let description: String
  init(_ description: String) { self.description = description }
}

/// A session description (SDP) with one section for data channels, as RFC 8829 and RFC 8841 define it. Each side sends
/// one to the other before they can connect. A plain value; reads and writes no other media.
package struct SessionDescription: Sendable, Equatable {
  /// The `setup` attribute: the DTLS role of the description's side (RFC 8842 section 5).
  package enum Setup: String, Sendable {
    /// Offers either role.
    case actpass
    /// Is the DTLS client.
    case active
    /// Is the DTLS server.
    case passive
  }

  /// ICE user name fragment: 4 to 256 ice-chars.
  package var fragment: String
  /// ICE password: 22 to 256 ice-chars.
  package var password: String
  /// SHA-256 of the certificate.
  package var fingerprint: Fingerprint
  package var setup: Setup
  /// SCTP port.
  package var port: UInt16 = 5000
  /// Largest message in bytes that the description's side accepts; 0 for no limit. 64 KiB if absent (RFC 8841 section 6.1).
  package var largestMessage: UInt64 = 65_536
  /// Candidates known so far; others follow separately (trickle ICE, RFC 8838).
  package var candidates: [Candidate] = []
  /// Whether `candidates` is complete.
  package var isComplete = false
  /// Identification of the media section, repeated in the answer.
  package var mediaID = "0"

  /// A description without candidates.
  package init(fragment: String, password: String, fingerprint: Fingerprint, setup: Setup) {
    self.fragment = fragment
    self.password = password
    self.fingerprint = fingerprint
    self.setup = setup
  }
}

/// The SHA-256 of a DER certificate.
package struct Fingerprint: Sendable, Hashable, CustomStringConvertible {
  /// 32 bytes.
  package let bytes: [UInt8]

  /// The fingerprint of these 32 bytes; nil for another count.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    self.bytes = bytes
  }

  /// Parses 32 pairs of hexadecimal digits with colons between, as RFC 8122 section 5 writes them.
  package init?(parsing text: some StringProtocol) {
    let pairs = text.split(separator: ":", maxSplits: 33, omittingEmptySubsequences: false)
    guard pairs.count == 32, pairs.allSatisfy({ $0.utf8.count == 2 }), let bytes = Hex.decode(pairs.joined()) else {
      return nil
    }
    self.bytes = bytes
  }

  package var description: String { bytes.map { Hex.encode([$0], uppercase: true) }.joined(separator: ":") }
}

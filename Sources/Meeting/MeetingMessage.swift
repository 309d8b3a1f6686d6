/// What two peers tell each other through the signaling server once they know each other, sealed.
///
/// One byte says what it is; the rest is text in UTF-8.
package enum MeetingMessage: Sendable, Equatable {
  /// An SDP offer or answer.
  case description(String)
  /// A candidate of the sender (trickle ICE, RFC 8838), as the value of its SDP attribute.
  case candidate(String)
  /// There are no more candidates.
  case endOfCandidates
  /// The exporter cannot take the guest, and why.
  case refusal(String)

  /// The bytes to seal.
  package var encoded: [UInt8] {
    switch self {
    case .description(let text): [1] + Array(text.utf8)
    case .candidate(let text): [2] + Array(text.utf8)
    case .endOfCandidates: [3]
    case .refusal(let text): [4] + Array(text.utf8)
    }
  }

  /// Decodes what was sealed; nil if it is nothing of these. The text is the peer's: parse it with care.
  package init?(parsing bytes: [UInt8]) {
    guard let kind = bytes.first else { return nil }
    let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    switch kind {
    case 1: self = .description(text)
    case 2: self = .candidate(text)
    case 3: self = .endOfCandidates
    case 4: self = .refusal(text)
    default: return nil
    }
  }
}

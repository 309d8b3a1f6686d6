import P2PFSMeeting
import P2PFSTransport

/// What a paired peer says while both look for a path: an SDP, its candidates, a refusal.
func fuzzMeeting(_ input: UnsafeBufferPointer<UInt8>) {
  guard let message = MeetingMessage(parsing: Array(input)) else { return }
  precondition(MeetingMessage(parsing: message.encoded) == message, "it reads differently the second time")
  switch message {
  case .description(let text): _ = try? SessionDescription(parsing: text)
  case .candidate(let text): _ = try? Candidate.parse(text)
  case .endOfCandidates, .refusal: break
  }
}

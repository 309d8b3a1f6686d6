import P2PFSMeeting
import P2PFSTransport

/// What a paired peer says while both look for a path: an SDP, its candidates, a refusal.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMeeting(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let message = MeetingMessage(parsing: Array(UnsafeBufferPointer(start: bytes, count: count))) else { return 0 }
  precondition(MeetingMessage(parsing: message.encoded) == message, "it reads differently the second time")
  switch message {
  case .description(let text): _ = try? SessionDescription(parsing: text)
  case .candidate(let text): _ = try? Candidate.parse(text)
  case .endOfCandidates, .refusal: break
  }
  return 0
}

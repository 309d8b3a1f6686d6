import P2PFSTransport

/// Session descriptions (SDP), candidates and messages that open data channels from the other side, our own or another
/// WebRTC, and what a signaling server says of STUN and TURN servers.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDescription(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  // The parser wants much before it looks further: half of the inputs are put where the attributes are.
  let start =
    "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n"
    + "a=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=sctp-port:5000\r\na=fingerprint:sha-256 "
    + repeatElement("AB", count: 32).joined(separator: ":") + "\r\n"
  if count == 0 { precondition((try? SessionDescription(parsing: start)) != nil, "a good description is refused") }
  for description in [text, start + text] {
    guard let parsed = try? SessionDescription(parsing: description) else { continue }
    let written = parsed.text
    guard let again = try? SessionDescription(parsing: written) else {
      preconditionFailure("what was written does not parse")
    }
    precondition(again.text == written, "written twice, and different")
  }
  if let fingerprint = Fingerprint(parsing: text) {
    precondition(Fingerprint(parsing: fingerprint.description) == fingerprint, "a fingerprint reads differently")
  }
  if let candidate = try? Candidate.parse(text) {
    precondition((try? Candidate.parse(candidate.description)) != nil, "what was written does not parse")
  }
  let raw = UnsafeRawBufferPointer(start: bytes, count: count)
  if let message = try? DataChannelEstablishment(parsing: raw), message == .acknowledge {
    precondition(raw.first == 2, "not an acknowledgement")
  }
  if let server = ICEServer(uri: text) {
    precondition(ICEServer(uri: server.description) == server, "what was written does not parse")
  }
  return 0
}

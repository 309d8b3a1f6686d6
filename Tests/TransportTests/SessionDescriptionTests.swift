import P2PFSCore
import Testing

@testable import P2PFSTransport

private let fingerprint = (0..<32).map { _ in "A1" }.joined(separator: ":")

/// What Chromium offers for one data channel, shortened.
private let chromium = """
  v=0\r
  o=- 4962303333179871722 2 IN IP4 127.0.0.1\r
  s=-\r
  t=0 0\r
  a=group:BUNDLE 0\r
  a=msid-semantic: WMS\r
  m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r
  c=IN IP4 0.0.0.0\r
  a=candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0\r
  a=candidate:1853887674 1 udp 1518280447 47.61.61.61 36768 typ srflx raddr 192.168.0.196 rport 36768 generation 0\r
  a=candidate:1 1 tcp 1518280447 192.168.0.196 9 typ host tcptype active\r
  a=ice-ufrag:9sgZ\r
  a=ice-pwd:1WFbKBqd4Bl2cf4dR1QV7s4K\r
  a=ice-options:trickle\r
  a=fingerprint:sha-256 \(fingerprint)\r
  a=setup:actpass\r
  a=mid:0\r
  a=sctp-port:5000\r
  a=max-message-size:262144\r

  """

@Suite struct SessionDescriptionTests {
  @Test func readsWhatABrowserWrites() throws {
    let description = try SessionDescription(parsing: chromium)
    #expect(description.fragment == "9sgZ")
    #expect(description.setup == .actpass)
    #expect(description.port == 5000)
    #expect(description.largestMessage == 262_144)
    #expect(description.fingerprint.bytes == [UInt8](repeating: 0xa1, count: 32))
    #expect(description.candidates.count == 2)
    #expect(description.candidates[1].kind == .srflx)
    #expect(description.candidates[1].relatedPort == 36_768)
    #expect(!description.isComplete)
  }

  @Test func readsBackWhatItWrites() throws {
    var description = try SessionDescription(parsing: chromium)
    description.isComplete = true
    #expect(try SessionDescription(parsing: description.text) == description)
  }

  @Test(arguments: [
    ("v=0", "v=1"),
    ("webrtc-datachannel", "webrtc-video"),
    ("m=application 9", "m=application 0"),
    ("a=ice-ufrag:9sgZ", "a=ice-ufrag:9s"),
    ("a=ice-ufrag:9sgZ", "a=ice-ufrag:9s Z"),
    ("a=ice-pwd:1WFbKBqd4Bl2cf4dR1QV7s4K", "a=ice-pwd:short"),
    ("a=fingerprint:sha-256", "a=fingerprint:sha-1"),
    ("a=fingerprint:sha-256 A1:", "a=fingerprint:sha-256 A:"),
    ("a=fingerprint:sha-256 A1:", "a=fingerprint:sha-256 G1:"),
    ("a=fingerprint:sha-256 A1:", "a=fingerprint:sha-256 "),
    ("a=setup:actpass", "a=setup:holdconn"),
    ("a=setup:actpass", "a=nothing"),
    ("a=sctp-port:5000", "a=sctp-port:0"),
    ("a=sctp-port:5000", "a=sctp-port:65536"),
    ("a=max-message-size:262144", "a=max-message-size:-1"),
    ("192.168.0.196 46243 typ", "192.168.0.196 66243 typ"),
    ("a=mid:0", "a=mid:\u{0}"),
  ])
  func refusesMalformedTwins(good: String, bad: String) {
    let text = chromium.replacing(good, with: bad)
    #expect(text != chromium)
    #expect(throws: MalformedDescription.self) { try SessionDescription(parsing: text) }
  }

  @Test func refusesTwoFingerprintsThatDiffer() {
    let other = fingerprint.replacing("A1", with: "B2")
    let text = chromium.replacing("a=setup", with: "a=fingerprint:sha-256 \(other)\r\na=setup")
    #expect(throws: MalformedDescription.self) { try SessionDescription(parsing: text) }
  }

  @Test func refusesWhatIsTooLongAndBoundsTheCandidates() throws {
    #expect(throws: MalformedDescription.self) {
      try SessionDescription(parsing: chromium + String(repeating: "a=x\r\n", count: 20_000))
    }
    #expect(throws: MalformedDescription.self) {
      try SessionDescription(parsing: chromium + "a=" + String(repeating: "x", count: 2_000))
    }
    let flood = (1...500).map { "a=candidate:\($0) 1 udp \($0) 192.0.2.1 \($0) typ host\r\n" }.joined()
    #expect(try SessionDescription(parsing: chromium + flood).candidates.count == Limits.Transport.candidates)
  }

  @Test func candidatesReadBackWhatTheyWrite() throws {
    let texts = [
      "candidate:1 1 UDP 2015363327 192.0.2.2 35879 typ host",
      "candidate:a/+9 1 UDP 1 2001:db8::1 1 typ relay raddr 192.0.2.2 rport 9",
    ]
    for text in texts { #expect(try #require(try Candidate.parse("a=" + text)).description == text) }
  }

  @Test(arguments: [
    "candidate:", "candidate:1 1 UDP 1 192.0.2.2 1 typ", "candidate:1 1 UDP 0 192.0.2.2 1 typ host",
    "candidate:1 0 UDP 1 192.0.2.2 1 typ host", "candidate:1 1 UDP 4294967296 192.0.2.2 1 typ host",
    "candidate:1 1 UDP 1 192.0.2.2 0 typ host", "candidate:1 1 UDP 1 192.0.2.2 -1 typ host",
    "candidate:\u{e9} 1 UDP 1 192.0.2.2 1 typ host", "candidate:1 1 UDP 1 192.0.2.2 1 typ srflx raddr a rport b",
    "candidate:123456789012345678901234567890123 1 UDP 1 192.0.2.2 1 typ host", "other:1 1 UDP 1 1.1.1.1 1 typ host",
  ])
  func refusesMalformedCandidates(text: String) {
    #expect(throws: MalformedDescription.self) { try Candidate.parse(text) }
  }

  @Test func passesOverCandidatesOfOtherKinds() throws {
    #expect(try Candidate.parse("candidate:1 1 tcp 1 192.0.2.2 9 typ host tcptype active") == nil)
    #expect(try Candidate.parse("candidate:1 2 udp 1 192.0.2.2 9 typ host") == nil)
    #expect(try Candidate.parse("candidate:1 1 udp 1 192.0.2.2 9 typ strange") == nil)
  }

  @Test func readsServerAddresses() throws {
    #expect(ICEServer(uri: "stun:example.org")?.description == "stun:example.org:3478")
    #expect(ICEServer(uri: "turn:[2001:db8::1]:99?transport=tcp")?.description == "turn:[2001:db8::1]:99?transport=tcp")
    for bad in [
      "stun:", "http://x", "turn:a?transport=tls", "stun:a:0", "stun:a:65536", "turns:a", "stun:[::1", "stun:[[a]",
      "stun:a]", "x",
    ] {
      #expect(ICEServer(uri: bad) == nil, "\(bad)")
    }
  }

  @Test func establishmentMessagesReadBackAndTheirMalformedTwinsAreRefused() throws {
    let open = DataChannelEstablishment.open(channelType: 0, label: "p2pfs", protocol: "x")
    for message in [open, .acknowledge] {
      let parsed = try message.bytes.withUnsafeBytes { try DataChannelEstablishment(parsing: $0) }
      #expect(parsed == message)
    }
    let good = open.bytes
    var twins: [[UInt8]] = [[], [0x04], Array(good.dropLast()), good + [0], Array(good.prefix(11))]
    for index in 8..<12 {
      var twin = good
      twin[index] = 0xff
      twins.append(twin)
    }
    for twin in twins {
      #expect(throws: MalformedDescription.self) {
        try twin.withUnsafeBytes { try DataChannelEstablishment(parsing: $0) }
      }
    }
  }

  /// Random changes of valid input: parsers may throw, never trap.
  @Test func survivesRandomChanges() {
    var random = SystemRandomNumberGenerator()
    let seeds = [
      Array(chromium.utf8), Array("candidate:1 1 UDP 2015363327 192.0.2.2 35879 typ host raddr 1.1.1.1 rport 9".utf8),
      DataChannelEstablishment.open(channelType: 0, label: "p2pfs", protocol: "x").bytes,
    ]
    for _ in 0..<5_000 {
      var bytes = seeds.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch UInt8.random(in: 0...3, using: &random) {
        case 0: bytes[index] = .random(in: 0...255, using: &random)
        case 1 where bytes.count > 1: bytes.remove(at: index)
        case 2: bytes.insert(.random(in: 0...255, using: &random), at: index)
        default: bytes.append(contentsOf: bytes[index...].prefix(64))
        }
      }
      bytes.withUnsafeBytes { parseAnything($0) }
    }
  }
}

/// Gives bytes of a stranger to every parser of text and of establishment messages: each may throw, none may trap.
private func parseAnything(_ bytes: UnsafeRawBufferPointer) {
  let text = String(decoding: bytes, as: UTF8.self)
  if let description = try? SessionDescription(parsing: text) {
    #expect((try? SessionDescription(parsing: description.text)) == description)
  }
  if let candidate = try? Candidate.parse(text) { #expect((try? Candidate.parse(candidate.description)) == candidate) }
  if let message = try? DataChannelEstablishment(parsing: bytes) {
    #expect((try? message.bytes.withUnsafeBytes { try DataChannelEstablishment(parsing: $0) }) != nil)
  }
  _ = ICEServer(uri: text)
}

extension DataChannelEstablishment {
  /// The message as it travels.
  fileprivate var bytes: [UInt8] {
    let frame = frame
    return withExtendedLifetime(frame) { Array(frame.bytes) }
  }
}

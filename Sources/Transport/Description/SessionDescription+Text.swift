import P2PFSCore

extension SessionDescription {
  /// The description as SDP text with CRLF line ends, RFC 8866.
  package var text: String {
    var lines = [
      "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE \(mediaID)", "a=ice-options:trickle",
      "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:\(mediaID)",
      "a=ice-ufrag:\(fragment)", "a=ice-pwd:\(password)", "a=fingerprint:sha-256 \(fingerprint)",
      "a=setup:\(setup.rawValue)", "a=sctp-port:\(port)", "a=max-message-size:\(largestMessage)",
    ]
    lines += candidates.map { "a=\($0)" }
    if isComplete { lines.append("a=end-of-candidates") }
    return lines.joined(separator: "\r\n") + "\r\n"
  }

  /// Parses SDP text.
  ///
  /// It must have one section for data channels that is not rejected; other media sections are ignored. Attributes of the
  /// session apply to the section unless it has its own. Refused: no SHA-256 fingerprint (MD5 and
  /// SHA-1 alone are too weak, RFC 8122), two that differ, no ICE credentials, no `setup`, anything over its limit.
  package init(parsing text: String) throws(MalformedDescription) {
    guard text.utf8.count <= Limits.Transport.description else { throw MalformedDescription("too long") }
    var parser = Parser()
    for line in text.utf8.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
      guard line.count <= Limits.Transport.line else { throw MalformedDescription("line too long") }
      guard let line = Substring(line).asPrintable else { throw MalformedDescription("not text") }
      try parser.take(line)
    }
    self = try parser.finished()
  }

  /// Collects the attributes line by line.
  private struct Parser {
    struct Attributes {
      var fragment, password, setup, mediaID: Substring?
      var fingerprint: Fingerprint?
      var port: UInt16?
      var largestMessage: UInt64?
      var candidates: [Candidate] = []
      var isComplete = false
    }
    enum Section { case session, channels, other }

    var session = Attributes()
    var channels = Attributes()
    var section = Section.session
    var begun = false
    var found = false

    mutating func take(_ line: Substring) throws(MalformedDescription) {
      let bytes = Array(line.utf8.prefix(2))
      guard bytes.count == 2, bytes[1] == UInt8(ascii: "=") else { throw MalformedDescription("line without =") }
      let value = line.dropFirst(2)
      if !begun {
        guard line == "v=0" else { throw MalformedDescription("does not begin with v=0") }
        begun = true
        return
      }
      switch bytes[0] {
      case UInt8(ascii: "m"):
        let words = value.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 4, let port = UInt16(decimal: words[1].prefix { $0 != "/" }) else {
          throw MalformedDescription("m line")
        }
        let isOurs = words[0] == "application" && words[2].hasSuffix("DTLS/SCTP") && words[3] == "webrtc-datachannel"
        if isOurs, port != 0, !found {
          section = .channels
          found = true
        } else {
          section = .other
        }
      case UInt8(ascii: "a"):
        switch section {
        case .session: try Self.attribute(value, &session)
        case .channels: try Self.attribute(value, &channels)
        case .other: break
        }
      default: break
      }
    }

    static func attribute(_ line: Substring, _ into: inout Attributes) throws(MalformedDescription) {
      let colon = line.firstIndex(of: ":") ?? line.endIndex
      let value = colon == line.endIndex ? "" : line[line.index(after: colon)...]
      switch line[..<colon] {
      case "ice-ufrag":
        guard (4...256).contains(value.utf8.count), value.utf8.allSatisfy(isICECharacter) else {
          throw MalformedDescription("ice-ufrag")
        }
        into.fragment = value
      case "ice-pwd":
        guard (22...256).contains(value.utf8.count), value.utf8.allSatisfy(isICECharacter) else {
          throw MalformedDescription("ice-pwd")
        }
        into.password = value
      case "fingerprint":
        let words = value.split(separator: " ")
        guard words.count == 2 else { throw MalformedDescription("fingerprint") }
        guard words[0].lowercased() == "sha-256" else { return }  // ignored; `finished` requires this hash
        guard let fingerprint = Fingerprint(parsing: words[1]) else { throw MalformedDescription("fingerprint") }
        guard into.fingerprint == nil || into.fingerprint == fingerprint else {
          throw MalformedDescription("two fingerprints")
        }
        into.fingerprint = fingerprint
      case "setup": into.setup = value
      case "mid":
        guard (1...32).contains(value.utf8.count), value.utf8.allSatisfy({ $0 > 0x20 }) else {
          throw MalformedDescription("mid")
        }
        into.mediaID = value
      case "sctp-port":
        guard let port = UInt16(decimal: value), port != 0 else { throw MalformedDescription("sctp-port") }
        into.port = port
      case "max-message-size":
        guard let size = UInt64(decimal: value) else { throw MalformedDescription("max-message-size") }
        into.largestMessage = size
      case "candidate":
        guard into.candidates.count < Limits.Transport.candidates else { return }
        if let candidate = try Candidate.parse(line) { into.candidates.append(candidate) }
      case "end-of-candidates": into.isComplete = true
      default: break
      }
    }

    func finished() throws(MalformedDescription) -> SessionDescription {
      guard found else { throw MalformedDescription("no data channels") }
      guard let fragment = channels.fragment ?? session.fragment,
        let password = channels.password ?? session.password
      else { throw MalformedDescription("no ICE credentials") }
      guard let fingerprint = channels.fingerprint ?? session.fingerprint else {
        throw MalformedDescription("no SHA-256 fingerprint")
      }
      guard let setup = (channels.setup ?? session.setup).flatMap({ Setup(rawValue: String($0)) }) else {
        throw MalformedDescription("setup")
      }
      var description = SessionDescription(
        fragment: String(fragment), password: String(password), fingerprint: fingerprint, setup: setup)
      description.port = channels.port ?? 5000
      description.largestMessage = channels.largestMessage ?? 65_536
      description.candidates = Array((session.candidates + channels.candidates).prefix(Limits.Transport.candidates))
      description.isComplete = session.isComplete || channels.isComplete
      description.mediaID = String(channels.mediaID ?? "0")
      return description
    }
  }
}

extension Substring {
  /// The line, if it is printable ASCII with spaces and tabs, which is all that the attributes we read may contain. Bytes
  /// that are not ASCII (session names may be UTF-8) become `?`; with control characters nil.
  fileprivate var asPrintable: Substring? {
    if utf8.allSatisfy({ ($0 >= 0x20 && $0 < 0x7f) || $0 == 0x09 }) { return self }
    guard !utf8.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7f }) else { return nil }
    return Substring(String(decoding: utf8.map { $0 < 0x80 ? $0 : UInt8(ascii: "?") }, as: UTF8.self))
  }
}

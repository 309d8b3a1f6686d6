import Glibc

/// The address of a signaling server: the SERVER of the command line's grammar, and the parts of a WebSocket URL.
///
/// SERVER is `host[:port]`, `[v6][:port]`, or a complete `ws://` or `wss://` URL, which may have a path in front of
/// ours. Without a scheme it is wss. For loopback, private and link-local addresses, where certificates are rare and
/// the peers' own handshake protects the messages, it is ws if the server does not speak TLS.
package struct ServerAddress: Sendable, Hashable {
  /// How the WebSocket travels (RFC 6455, section 3).
  package enum Scheme: String, Sendable {
    /// Over plain TCP.
    case ws
    /// Over TLS, with the certificate and its name verified.
    case wss
  }

  /// The default port.
  package static let defaultPort: UInt16 = 11985

  /// How the WebSocket travels.
  package let scheme: Scheme
  /// Whether `scheme` was not given but is the usual one for such an address: a server there that has a certificate is
  /// contacted with TLS all the same.
  package let isSchemeAssumed: Bool
  /// A name or an address; IPv6 without brackets, with its zone if it has one (`fe80::1%eth0`).
  package let host: String
  /// The TCP port.
  package let port: UInt16
  /// A path in front of ours, for a server behind a reverse proxy: empty, or with a leading slash and no trailing one.
  package let path: String

  /// An address from its parts. `host` must be a valid name or address, `path` empty or absolute.
  package init(
    scheme: Scheme, host: String, port: UInt16 = defaultPort, path: String = "", isSchemeAssumed: Bool = false
  ) {
    self.scheme = scheme
    self.isSchemeAssumed = isSchemeAssumed
    self.host = host
    self.port = port
    self.path = path
  }

  /// Parses SERVER as on the command line; surrounding blanks are ignored.
  package init(parsing text: String) throws(ServerAddressError) {
    let text = text.trimmingBlanks
    guard !text.isEmpty else { throw .empty }
    guard text.utf8.count <= 512, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .invalidHost }
    var rest = Substring(text)
    var scheme: Scheme?
    if let end = rest.range(of: "://") {
      guard let known = Scheme(rawValue: rest[..<end.lowerBound].lowercased()) else { throw .unknownScheme }
      scheme = known
      rest = rest[end.upperBound...]
    }
    var path = ""
    if let slash = rest.firstIndex(of: "/") {
      guard scheme != nil else { throw .pathWithoutScheme }
      path = String(rest[slash...])
      guard !path.contains(where: { $0 == "?" || $0 == "#" }) else { throw .invalidPath }
      while path.hasSuffix("/") { path.removeLast() }
      rest = rest[..<slash]
    }
    let (host, port) = try Self.hostAndPort(rest)
    self.init(
      scheme: scheme ?? (Self.isLocal(host) ? .ws : .wss), host: host, port: port ?? Self.defaultPort, path: path,
      isSchemeAssumed: scheme == nil)
  }

  /// The spelling makes no difference.
  package static func == (one: ServerAddress, other: ServerAddress) -> Bool {
    (one.scheme, one.host, one.port, one.path) == (other.scheme, other.host, other.port, other.path)
  }

  /// Hashes what `==` compares.
  package func hash(into hasher: inout Hasher) {
    hasher.combine(scheme)
    hasher.combine(host)
    hasher.combine(port)
    hasher.combine(path)
  }

  /// The same server with TLS.
  package var secured: ServerAddress { ServerAddress(scheme: .wss, host: host, port: port, path: path) }

  /// The host as in URLs and the Host field: IPv6 in brackets and without its zone (RFC 6874 keeps zones local).
  package var urlHost: String {
    guard host.contains(":") else { return host }
    return "[" + host.prefix { $0 != "%" } + "]"
  }

  /// The whole URL, with the port always written.
  package var url: String { "\(scheme.rawValue)://\(urlHost):\(port)\(path)" }

  /// Whether `host` is an address or "localhost" rather than a name that a certificate can be issued for.
  package static func isLocal(_ host: String) -> Bool {
    if host.lowercased() == "localhost" { return true }
    if let v4 = ipv4(host) { return isLocal(v4) }
    guard let v6 = ipv6(host) else { return false }
    if v6.prefix(10).allSatisfy({ $0 == 0 }), v6[10] == 0xFF, v6[11] == 0xFF { return isLocal(Array(v6[12...])) }
    let loopback = v6.prefix(15).allSatisfy { $0 == 0 } && v6[15] == 1
    let linkLocal = v6[0] == 0xFE && v6[1] & 0xC0 == 0x80
    let uniqueLocal = v6[0] & 0xFE == 0xFC
    return loopback || linkLocal || uniqueLocal
  }

  /// Loopback, private (RFC 1918) or link-local (RFC 3927).
  private static func isLocal(_ v4: [UInt8]) -> Bool {
    switch (v4[0], v4[1]) {
    case (127, _), (10, _), (192, 168), (169, 254): true
    case (172, let second): (16...31).contains(second)
    default: false
    }
  }

  /// The four bytes of a dotted address, or nil.
  package static func ipv4(_ text: String) -> [UInt8]? {
    var address = in_addr()
    guard inet_pton(AF_INET, text, &address) == 1 else { return nil }
    return withUnsafeBytes(of: &address) { Array($0) }
  }

  /// The sixteen bytes of an IPv6 address, whose zone is ignored, or nil.
  package static func ipv6(_ text: String) -> [UInt8]? {
    var address = in6_addr()
    guard inet_pton(AF_INET6, String(text.prefix { $0 != "%" }), &address) == 1 else { return nil }
    return withUnsafeBytes(of: &address) { Array($0) }
  }

  /// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
  package static func hostAndPort(_ text: Substring) throws(ServerAddressError) -> (String, UInt16?) {
    guard !text.contains("@") else { throw .invalidHost }
    if text.first == "[" {
      guard let close = text.firstIndex(of: "]") else { throw .invalidHost }
      let host = String(text[text.index(after: text.startIndex)..<close])
      guard ipv6(host) != nil, isZone(host) else { throw .invalidHost }
      let rest = text[text.index(after: close)...]
      guard !rest.isEmpty else { return (host, nil) }
      guard rest.first == ":" else { throw .invalidHost }
      return (host, try port(rest.dropFirst()))
    }
    let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count <= 2 else {
      throw ipv6(String(text)) != nil ? .unbracketedIPv6 : .invalidHost
    }
    let host = String(parts[0])
    guard ipv4(host) != nil || isName(host) else { throw .invalidHost }
    return (host, parts.count == 2 ? try port(parts[1]) : nil)
  }

  private static func port(_ text: Substring) throws(ServerAddressError) -> UInt16 {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(text), port > 0 else {
      throw .invalidPort
    }
    return port
  }

  /// A zone, if there is one, is an interface's name: letters, digits and `._-`.
  private static func isZone(_ host: String) -> Bool {
    guard let percent = host.firstIndex(of: "%") else { return true }
    let zone = host[host.index(after: percent)...]
    return (1...15).contains(zone.utf8.count) && zone.utf8.allSatisfy { isLetterOrDigit($0) || "._-".utf8.contains($0) }
  }

  /// A host name (RFC 1123, section 2.1; underscores tolerated). One whose last label is a number is a mistyped address.
  private static func isName(_ host: String) -> Bool {
    guard (1...253).contains(host.utf8.count) else { return false }
    var labels = host.split(separator: ".", omittingEmptySubsequences: false)
    if labels.count > 1, labels.last == "" { labels.removeLast() }
    guard let last = labels.last, !last.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return labels.allSatisfy { label in
      (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2D || $0 == 0x5F }
    }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
  }
}

extension ServerAddress: CustomStringConvertible {
  /// The shortest SERVER that parses as this address.
  package var description: String {
    let bare = host.contains(":") ? "[\(host)]" : host
    let implied: Scheme = Self.isLocal(host) ? .ws : .wss
    let short = port == Self.defaultPort ? bare : "\(bare):\(port)"
    return scheme == implied && path.isEmpty ? short : "\(scheme.rawValue)://\(short)\(path)"
  }
}

/// The reason why a text is not the address of a signaling server.
package enum ServerAddressError: Error, Equatable, CustomStringConvertible {
  /// The text is empty.
  case empty
  /// A scheme that is neither ws nor wss.
  case unknownScheme
  /// Neither a host name nor an address.
  case invalidHost
  /// An IPv6 address without brackets, in which a port would be ambiguous.
  case unbracketedIPv6
  /// Not a number from 1 to 65535.
  case invalidPort
  /// A query or a fragment.
  case invalidPath
  /// `host/path` without a scheme.
  case pathWithoutScheme

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .empty: "The signaling server is empty."
    case .unknownScheme: "A signaling server's URL begins with ws:// or wss://."
    case .invalidHost: "The signaling server is neither a host name nor an address."
    case .unbracketedIPv6: "An IPv6 address is written in brackets, as in [2001:db8::1]:11985."
    case .invalidPort: "The signaling server's port is not a number from 1 to 65535."
    case .invalidPath: "A signaling server's URL has no query and no fragment."
    case .pathWithoutScheme: "A signaling server with a path is written as a whole ws:// or wss:// URL."
    }
  }
}

extension StringProtocol {
  /// The text without the blanks around it.
  package var trimmingBlanks: String {
    let blank = { (character: Character) in character.isWhitespace }
    return String(self.drop(while: blank).reversed().drop(while: blank).reversed())
  }

  /// The first occurrence of `text` in this one.
  fileprivate func range(of text: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
      formIndex(after: &start)
    }
    return nil
  }
}

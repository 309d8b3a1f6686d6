import P2PFSCore

/// A TCP port of a host or a Unix socket, to connect to or to listen on, in the one spelling that is compared and sent.
///
/// ```
/// host:port       [v6]:port       *:port       /path
/// ```
/// Letters of a host are lower case and a port has no leading zeros; nothing else is normalised: two spellings of one
/// address are two endpoints, and so are two paths that differ only in how a letter is encoded. `*`, all addresses, and
/// port 0, any free one, are for listening only.
package enum Endpoint: Sendable {
  /// A port of a host; IPv6 without brackets.
  case tcp(host: String, port: UInt16)
  /// A Unix socket, by its absolute path.
  case unix(path: String)

  /// The use of an endpoint.
  package enum Use: Sendable {
    case connecting
    case listening
  }

  /// Parses the text form. For listening the host may be omitted, and is localhost then.
  package init(parsing text: String, for use: Use) throws(ForwardSyntaxError) {
    guard text.utf8.first != UInt8(ascii: "/") else {
      self = try .init(path: text)
      return
    }
    var host = Substring("localhost")
    var port = Substring(text)
    if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
    } else if use == .connecting {
      throw ForwardSyntaxError("\(text): give HOST:PORT or the path of a socket")
    }
    try self.init(host: String(host), port: String(port), for: use)
  }

  /// A port of a host, IPv6 in brackets; an empty host means all addresses, for listening.
  init(host: String, port: String, for use: Use) throws(ForwardSyntaxError) {
    let number = port.utf8.count <= 5 && port.utf8.allSatisfy({ (0x30...0x39).contains($0) }) ? UInt16(port) : nil
    guard let number, number > 0 || use == .listening else { throw ForwardSyntaxError("\(port): not a port") }
    self = .tcp(host: try Endpoint.host(host, for: use), port: number)
    guard self.text.utf8.count <= Limits.Forward.endpoint else {
      throw ForwardSyntaxError("the name of a host is too long")
    }
  }

  /// A Unix socket.
  init(path: String) throws(ForwardSyntaxError) {
    guard path.utf8.count <= Limits.Forward.socketPath else {
      throw ForwardSyntaxError("\(path): the path of a socket has \(Limits.Forward.socketPath) bytes at most")
    }
    guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count > 1, path.unicodeScalars.allSatisfy(Endpoint.isPlain)
    else {
      throw ForwardSyntaxError("\(path): not the absolute path of a socket")
    }
    self = .unix(path: path)
  }

  /// The host in its one spelling.
  static func host(_ text: String, for use: Use) throws(ForwardSyntaxError) -> String {
    if use == .listening, text.isEmpty || text == "*" { return "*" }
    let lower = text.lowercased()
    guard lower.hasPrefix("[") else {
      guard !lower.isEmpty, lower.utf8.allSatisfy(isOfName) else {
        throw ForwardSyntaxError("\"\(text)\": not the name or address of a host (IPv6 stands in brackets)")
      }
      return lower
    }
    let address = String(lower.dropFirst().dropLast())
    let zone = address.drop { $0 != "%" }.dropFirst()
    guard lower.hasSuffix("]"), ServerAddress.ipv6(address) != nil, zone.utf8.allSatisfy(isOfName) else {
      throw ForwardSyntaxError("\(text): not an IPv6 address in brackets")
    }
    return address
  }

  /// Characters of host names, including those of /etc/hosts and search lists.
  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"): true
    default: false
    }
  }

  /// Whether a character is neither NUL nor another control character.
  private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value >= 0x20 && !(0x7F..<0xA0).contains(scalar.value) && scalar.value != 0xFFFD
  }

  /// Whether it is a port of a host.
  var isTCP: Bool { if case .tcp = self { true } else { false } }

  /// Whether it stands for any free port.
  package var isAnyPort: Bool { if case .tcp(_, 0) = self { true } else { false } }

  /// The text form.
  package var text: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): path
    }
  }
}

extension Endpoint: Hashable {
  /// Compares bytes: Swift strings are equal if they look the same, but for the kernel they are two files.
  package static func == (one: Endpoint, other: Endpoint) -> Bool { one.text.utf8.elementsEqual(other.text.utf8) }

  package func hash(into hasher: inout Hasher) {
    for byte in text.utf8 { hasher.combine(byte) }
  }
}

/// An error in the text of an endpoint, a rule or a forward, as a sentence for the user. Contains the given text:
/// escape it before it is shown.
package struct ForwardSyntaxError: Error, Equatable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}

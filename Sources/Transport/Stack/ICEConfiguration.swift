import P2PFSCore

/// A STUN or TURN server, RFC 7064 and RFC 7065.
package struct ICEServer: Sendable, Hashable, CustomStringConvertible {
  /// Its service, and the transport to it.
  package enum Kind: Sendable, Hashable {
    case stun
    case turnUDP
    case turnTCP
  }

  package var kind: Kind
  /// A name or an address (IPv6 without brackets).
  package var host: String
  package var port: UInt16
  /// Credentials of a TURN server.
  package var username: String?
  package var credential: String?

  /// Parses `stun:host[:port]` or `turn:host[:port][?transport=udp|tcp]`; nil if it is neither. TURN over TLS
  /// (`turns:`) is not supported.
  package init?(uri: String, username: String? = nil, credential: String? = nil) {
    guard uri.utf8.count <= Limits.Transport.line, let colon = uri.firstIndex(of: ":") else { return nil }
    var rest = uri[uri.index(after: colon)...]
    var transport: Substring = "udp"
    if let question = rest.firstIndex(of: "?") {
      let query = rest[rest.index(after: question)...]
      guard query.hasPrefix("transport=") else { return nil }
      transport = query.dropFirst(10)
      rest = rest[..<question]
    }
    switch (uri[..<colon].lowercased(), transport) {
    case ("stun", "udp"): kind = .stun
    case ("turn", "udp"): kind = .turnUDP
    case ("turn", "tcp"): kind = .turnTCP
    default: return nil
    }
    port = 3478
    if rest.hasPrefix("[") {
      guard let end = rest.firstIndex(of: "]") else { return nil }
      host = String(rest[rest.index(after: rest.startIndex)..<end])
      rest = rest[rest.index(after: end)...]
      guard rest.isEmpty || rest.first == ":" else { return nil }
    } else {
      let end = rest.firstIndex(of: ":") ?? rest.endIndex
      host = String(rest[..<end])
      rest = rest[end...]
    }
    if !rest.isEmpty {
      guard let number = UInt16(decimal: rest.dropFirst()), number != 0 else { return nil }
      port = number
    }
    guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x5b && $0 != 0x5d })
    else { return nil }
    self.username = username
    self.credential = credential
  }

  package var description: String {
    let name = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
    return switch kind {
    case .stun: "stun:\(name):\(port)"
    case .turnUDP: "turn:\(name):\(port)?transport=udp"
    case .turnTCP: "turn:\(name):\(port)?transport=tcp"
    }
  }
}

/// How a connection looks for a path, and the size of its receive buffer.
package struct ICEConfiguration: Sendable {
  /// Servers to use. libnice uses the first STUN server and up to eight TURN servers.
  package var servers: [ICEServer]
  /// Use relayed candidates only: to test relays.
  package var relayOnly: Bool
  /// Offer 127.0.0.1, too. It is offered anyway when the machine has no other address.
  package var includesLoopback: Bool
  /// Receive buffer in bytes, for data out of order and partial messages (`PeerConnection.grant`).
  package var receiveBuffer = Limits.Transport.flight

  /// A configuration; without servers only peers in the same network are reached.
  package init(servers: [ICEServer] = [], relayOnly: Bool = false, includesLoopback: Bool = false) {
    self.servers = servers
    self.relayOnly = relayOnly
    self.includesLoopback = includesLoopback
  }
}

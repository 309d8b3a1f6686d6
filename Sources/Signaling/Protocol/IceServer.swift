import P2PFSCore

/// A STUN or TURN server, as a signaling server recommends it (RFC 7064 and RFC 7065).
package struct IceServer: Sendable, Equatable {
  /// What the server does, and whether it is reached by TLS.
  package enum Kind: String, Sendable {
    case stun
    case stuns
    case turn
    case turns
  }

  /// How packets reach a TURN server (`?transport=`).
  package enum Transport: String, Sendable {
    case udp
    case tcp
  }

  /// What the server does.
  package let kind: Kind
  /// A name or an address; IPv6 without brackets.
  package let host: String
  /// Its port: 3478, or 5349 by TLS, unless the URI says otherwise.
  package let port: UInt16
  /// How packets reach it.
  package let transport: Transport
  /// The name to authenticate with, for TURN.
  package let username: String?
  /// The password, for TURN. Good for `Limits.Signaling.turnLifetime`.
  package let credential: String?
  /// The URI that all this was read from.
  package let uri: String

  /// Reads `stun:host[:port]` or `turn:host[:port][?transport=udp|tcp]`.
  package init(uri: String, username: String? = nil, credential: String? = nil) throws(IceServerError) {
    let lengths = [uri, username ?? "", credential ?? ""].map(\.utf8.count)
    guard lengths.allSatisfy({ $0 <= Limits.Signaling.iceText }) else { throw .tooLong }
    guard let colon = uri.firstIndex(of: ":"), let kind = Kind(rawValue: uri[..<colon].lowercased()) else {
      throw .scheme
    }
    var rest = uri[uri.index(after: colon)...]
    var transport: Transport = kind == .turns || kind == .stuns ? .tcp : .udp
    if let question = rest.firstIndex(of: "?") {
      let query = rest[rest.index(after: question)...]
      guard query.hasPrefix("transport="), let named = Transport(rawValue: String(query.dropFirst(10))) else {
        throw .query
      }
      transport = named
      rest = rest[..<question]
    }
    do {
      let (host, port) = try ServerAddress.hostAndPort(rest)
      self.host = host
      self.port = port ?? (kind == .turns || kind == .stuns ? 5349 : 3478)
    } catch { throw .host }
    self.kind = kind
    self.transport = transport
    self.username = username
    self.credential = credential
    self.uri = uri
  }
}

extension IceServer {
  /// The servers that a URI names: a `turn:` URI that does not say how packets travel names one by UDP and one by TCP,
  /// for those whose firewall lets no UDP out.
  package static func all(uri: String) throws(IceServerError) -> [IceServer] {
    let server = try IceServer(uri: uri)
    guard server.kind == .turn, !uri.contains("?") else { return [server] }
    return [try IceServer(uri: uri + "?transport=udp"), try IceServer(uri: uri + "?transport=tcp")]
  }
}

extension IceServer: CustomStringConvertible, CustomReflectable {
  /// The URI alone: no credential ever reaches a log.
  package var description: String { uri }

  /// The URI alone.
  package var customMirror: Mirror { Mirror(self, children: ["uri": uri]) }
}

/// Why a text is not the URI of a STUN or TURN server.
package enum IceServerError: Error, Equatable, CustomStringConvertible {
  /// It does not begin with stun:, stuns:, turn: or turns:.
  case scheme
  /// Neither a host name nor an address, or a port that is none.
  case host
  /// A query other than transport=udp or transport=tcp.
  case query
  /// Longer than `Limits.Signaling.iceText`.
  case tooLong

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .scheme: "The URI does not begin with stun:, stuns:, turn: or turns:."
    case .host: "The URI names neither a host nor an address."
    case .query: "The URI's query is neither transport=udp nor transport=tcp."
    case .tooLong: "The URI or its credentials are too long."
    }
  }
}

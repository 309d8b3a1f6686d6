/// What guests may forward to and listen at on this computer: nothing but what is named.
///
/// Texts are compared, not addresses: `127.1` and `localhost.` are not `localhost`. Nothing is looked up.
package struct ForwardPolicy: Sendable {
  /// What connections may be made to.
  package enum Rule: Sendable, Hashable {
    /// This, and nothing else.
    case only(Endpoint)
    /// Every port of this host.
    case anyPort(host: String)

    /// Reads `host:port`, `host:*` or the path of a socket.
    package init(parsing text: String) throws(ForwardSyntaxError) {
      guard text.utf8.first != UInt8(ascii: "/"), text.hasSuffix(":*") else {
        self = .only(try Endpoint(parsing: text, for: .connecting))
        return
      }
      self = .anyPort(host: try Endpoint.host(String(text.dropLast(2)), for: .connecting))
    }
  }

  /// What was allowed, in the order in which it was given.
  package let targets: [Rule]
  package let listens: [Endpoint]

  /// Allows what the texts name.
  /// - Parameters:
  ///   - targets: `host:port`, `host:*` or the path of a socket.
  ///   - listens: `port`, `host:port`, `*:port` or the path of a socket.
  package init(targets: [String] = [], listens: [String] = []) throws(ForwardSyntaxError) {
    var rules: [Rule] = []
    for text in targets { rules.append(try Rule(parsing: text)) }
    var endpoints: [Endpoint] = []
    for text in listens { endpoints.append(try Endpoint(parsing: text, for: .listening)) }
    self.targets = rules
    self.listens = endpoints
  }

  /// Whether it allows nothing at all.
  package var isEmpty: Bool { targets.isEmpty && listens.isEmpty }

  func allows(connectingTo endpoint: Endpoint) -> Bool {
    targets.contains { rule in
      switch (rule, endpoint) {
      case (.only(let only), _): only == endpoint
      case (.anyPort(let allowed), .tcp(let host, _)): allowed == host
      case (.anyPort, .unix): false
      }
    }
  }

  func allows(listeningAt endpoint: Endpoint) -> Bool { listens.contains(endpoint) }
}

import P2PFSCore

/// The connections and listeners that guests may have on this computer: only those that are named.
///
/// Texts are compared, not addresses: `127.1` and `localhost.` are not `localhost`. No name is looked up.
package struct ForwardPolicy: Sendable {
  /// A destination of connections.
  package enum Rule: Sendable, Hashable {
    /// Exactly this endpoint.
    case only(Endpoint)
    /// Every port of this host.
    case anyPort(host: String)

    /// Parses `host:port`, `host:*` or the path of a socket.
    package init(parsing text: String) throws(ForwardSyntaxError) {
      guard text.utf8.first != UInt8(ascii: "/"), text.hasSuffix(":*") else {
        self = .only(try Endpoint(parsing: text, for: .connecting))
        return
      }
      self = .anyPort(host: try Endpoint.host(String(text.dropLast(2)), for: .connecting))
    }

    /// The text form.
    package var text: String {
      switch self {
      case .only(let endpoint): endpoint.text
      case .anyPort(let host): host.contains(":") ? "[\(host)]:*" : "\(host):*"
      }
    }

    /// An endpoint that it allows.
    fileprivate var example: Endpoint {
      switch self {
      case .only(let endpoint): endpoint
      case .anyPort(let host): .tcp(host: host, port: 80)
      }
    }
  }

  /// The allowed endpoints, each once, in the given order.
  package let targets: [Rule]
  package let listens: [Endpoint]

  /// Allows the endpoints that the texts name.
  /// - Parameters:
  ///   - targets: `host:port`, `host:*` or the path of a socket.
  ///   - listens: `port`, `host:port`, `*:port` or the path of a socket.
  package init(targets: [String] = [], listens: [String] = []) throws(ForwardSyntaxError) {
    var rules: [Rule] = []
    for text in targets { rules.append(try Rule(parsing: text)) }
    var endpoints: [Endpoint] = []
    for text in listens { endpoints.append(try Endpoint(parsing: text, for: .listening)) }
    self.targets = rules.uniqued
    self.listens = endpoints.uniqued
  }

  /// Whether it allows nothing at all.
  package var isEmpty: Bool { targets.isEmpty && listens.isEmpty }

  /// The key under which an export with this policy is remembered: the same for the same rules in any order. Does not
  /// begin with a slash.
  package var memoryKey: String {
    "forward " + (targets.map { "to " + $0.text } + listens.map { "at " + $0.text }).sorted().joined(separator: " ")
  }

  /// For each rule an option of `p2pfs forward` with an argument, as an example for the user: all of them together are
  /// a command that works, with as many of `-R` as one command may have.
  package var examples: [(option: String, spec: String)] {
    var used: Set<Endpoint> = []
    let local = targets.map { rule in
      let target = rule.example
      let listen = ForwardPolicy.unused(target, &used)
      return ("-L", ForwardSpec(listen: listen, target: target).text)
    }
    let remote = listens.prefix(Limits.Forward.listeners).map { endpoint in
      var port: UInt16 = 8080
      if case .tcp(_, let own) = endpoint, own != 0 { port = own }
      return ("-R", ForwardSpec(listen: endpoint, target: .tcp(host: "localhost", port: port)).text)
    }
    return local + remote
  }

  /// A listening address for a destination: an unprivileged port or a path that is not used yet, and that resembles the
  /// destination.
  private static func unused(_ target: Endpoint, _ used: inout Set<Endpoint>) -> Endpoint {
    switch target {
    case .tcp(_, let port):
      var port = port < 1024 ? port + 8000 : port
      while !used.insert(.tcp(host: "localhost", port: port)).inserted { port = port == .max ? 1024 : port + 1 }
      return .tcp(host: "localhost", port: port)
    case .unix(let path):
      let name = path.split(separator: "/").last ?? "socket"
      for number in 1... {
        let path = "/tmp/\(name)" + (number == 1 ? "" : "-\(number)")
        let listen = path.utf8.count <= Limits.Forward.socketPath ? path : "/tmp/p2pfs-\(number)"
        if used.insert(.unix(path: listen)).inserted { return .unix(path: listen) }
      }
      preconditionFailure("there are more numbers than rules")
    }
  }

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

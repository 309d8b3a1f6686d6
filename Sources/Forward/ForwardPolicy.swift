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

    /// The text form.
    package var text: String {
      switch self {
      case .only(let endpoint): endpoint.text
      case .anyPort(let host): host.contains(":") ? "[\(host)]:*" : "\(host):*"
      }
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

  /// What it is known by: the same for the same rules in any order. Begins with no slash.
  package var memoryKey: String {
    "forward " + (targets.map { "to " + $0.text } + listens.map { "at " + $0.text }).sorted().joined(separator: " ")
  }

  /// For each rule an option of `p2pfs forward`, and what may be given to it, as an example for the user.
  package var examples: [(option: String, spec: String)] {
    targets.map { rule in
      switch rule {
      case .only(.tcp(let host, let port)):
        ("-L", "\(ForwardPolicy.unprivileged(port)):\(Endpoint.tcp(host: host, port: port).text)")
      case .only(.unix(let path)): ("-L", "/tmp/\(path.split(separator: "/").last ?? "socket"):\(path)")
      case .anyPort(let host): ("-L", "8080:\(Endpoint.tcp(host: host, port: 80).text)")
      }
    }
      + listens.map { endpoint in
        switch endpoint {
        case .tcp(let host, let port):
          ("-R", "\(host == "localhost" ? "\(port)" : endpoint.text):localhost:\(port == 0 ? 8080 : port)")
        case .unix: ("-R", "\(endpoint.text):localhost:8080")
        }
      }
  }

  /// A port that a user may listen at, and that shows which one is meant.
  private static func unprivileged(_ port: UInt16) -> UInt16 { port < 1024 ? port + 8000 : port }

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

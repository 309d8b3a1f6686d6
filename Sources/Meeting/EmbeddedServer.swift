import P2PFSCore
package import P2PFSSignaling

extension SignalServer {
  /// Starts a signaling server in this program, for who was given none: enough within one network. At the first free port
  /// from the default on; one where guests of another export of this user look for that comes last.
  /// - Parameter port: the one it had last time, taken if it is free.
  package static func embedded(port: UInt16? = nil) async throws(SignalServerError) -> SignalServer {
    var configuration = SignalServer.Configuration.embedded
    if let port {
      var same = configuration
      same.port = .exactly(port)
      if let server = try? await SignalServer.start(same) { return server }
    }
    configuration.port = .firstFree(from: ServerAddress.defaultPort, sparing: SavedExport.portsOfGuests())
    return try await SignalServer.start(configuration)
  }
}

extension LocalAddress {
  /// The host in `address`, an address (IPv6 with or without brackets) or name of this computer; nil if it is neither.
  package static func host(in address: String) -> String? {
    let bracketed = address.contains(":") && !address.hasPrefix("[") ? "[\(address)]" : address
    guard let parsed = try? ServerAddress(parsing: bracketed), parsed.path.isEmpty else { return nil }
    return parsed.host
  }
}

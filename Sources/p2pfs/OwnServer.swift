import Core
import Signaling

extension SignalServer {
  /// Starts a signaling server on this computer, for who was given none: enough within one network.
  /// - Parameter port: the one it had last time, taken if it is free.
  static func own(port: UInt16? = nil) async throws(Failure) -> SignalServer {
    var configuration = SignalServer.Configuration.embedded
    if let port {
      var same = configuration
      same.port = .exactly(port)
      if let server = try? await SignalServer.start(same) { return server }
    }
    configuration.port = .firstFree(from: ServerAddress.defaultPort)
    do { return try await SignalServer.start(configuration) } catch {
      throw Failure(.failed, "cannot start a signaling server on this computer: \(error). Name one with --signal.")
    }
  }
}

extension LocalAddress {
  /// The host that others are told of a server on this computer: what was given by `--address`, or what seems best.
  static func shown(_ address: String?) throws(Failure) -> String {
    guard let address else { return forOthers }
    let bracketed = address.contains(":") && !address.hasPrefix("[") ? "[\(address)]" : address
    guard let parsed = try? ServerAddress(parsing: bracketed), parsed.path.isEmpty else {
      throw Failure(.usage, "--address \(Console.escaped(address)): give an address or a name of this computer")
    }
    return parsed.host
  }
}

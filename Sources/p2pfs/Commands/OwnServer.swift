import P2PFSCore
import P2PFSMeeting
import P2PFSSession
import P2PFSSignaling

extension SignalServer {
  /// Starts a signaling server on this computer, for who was given none: enough within one network.
  /// - Parameter port: the one it had last time, taken if it is free.
  static func own(port: UInt16? = nil) async throws(Failure) -> SignalServer {
    do { return try await embedded(port: port) } catch {
      let why = if case .cannotListen(let why) = error { why } else { "\(error)" }
      throw Failure(.failed, "cannot start a signaling server on this computer: \(why). Name one with --signal.")
    }
  }
}

extension LocalAddress {
  /// The host that others are told of a server on this computer: what was given by `--address`, or what seems best.
  static func shown(_ address: String?) throws(Failure) -> String {
    guard let address else { return forOthers }
    guard let host = host(in: address) else {
      throw Failure(.usage, "--address \(Console.escaped(address)): give an address or a name of this computer")
    }
    return host
  }
}

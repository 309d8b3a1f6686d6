/// Why a signaling server is of no help, or not any more.
package enum SignalingError: Error, Equatable, Sendable {
  /// No connection: the name is unknown, or nothing listens, or the network is down.
  case unreachable(String)
  /// TCP, TLS, upgrade and welcome together took longer than `Limits.Signaling.answer`.
  case timedOut
  /// Something answered that is no signaling server.
  case notASignalingServer(String)
  /// TLS: nobody whom this machine trusts vouches for the certificate, or TLS failed otherwise.
  case certificate(String)
  /// TLS: the certificate is for another name.
  case certificateName(String)
  /// Another host has this room.
  case roomOccupied
  /// Nobody hosts this room, or it has never been.
  case nobodyThere
  /// The server refuses, with its reason: too many rooms, guests, joins.
  case refused(String)
  /// The server broke the protocol.
  case violation(String)
  /// The connection was there and is gone, with the server's reason or the network's.
  case closed(String)
}

extension SignalingError {
  /// Why a server that answers without TLS is none that was asked for, in `notASignalingServer`.
  package static let noTLS = "it does not speak TLS"
}

extension SignalingError: CustomStringConvertible {
  /// A sentence for the user.
  package var description: String {
    switch self {
    case .unreachable(let reason): "The signaling server cannot be reached: \(reason)"
    case .timedOut: "The signaling server does not answer."
    case .notASignalingServer(let reason): "What answers there is no signaling server: \(reason)"
    case .certificate(let reason): "The signaling server's certificate is not trusted: \(reason)"
    case .certificateName(let name): "The signaling server's certificate is not for \(name)."
    case .roomOccupied: "Another host has this room."
    case .nobodyThere: "Nobody is in the room."
    case .refused(let reason): "The signaling server refuses: \(reason)"
    case .violation(let reason): "The signaling server breaks the protocol: \(reason)"
    case .closed(let reason): "The signaling server has closed the connection: \(reason)"
    }
  }
}

/// Text from the network, made fit for a terminal: printable ASCII, and not much of it.
func printable(_ text: some StringProtocol) -> String {
  String(
    decoding: text.utf8.prefix(200).map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
}

/// Why a connection did not come up, or ended.
package enum TransportError: Error, Sendable, Equatable, CustomStringConvertible {
  /// No path was found in time; names what was tried.
  case noPath(tried: String)
  /// The path existed, but the DTLS or SCTP handshake did not finish in time.
  case handshakeTimeout
  /// The peer's certificate is not the one its description announced.
  case fingerprintMismatch
  /// The DTLS handshake failed; OpenSSL's reason.
  case handshake(String)
  /// A description with a format error, or one that needs a feature we do not have.
  case badDescription(String)
  /// Called in the wrong order: our bug, or a description that arrived twice.
  case wrongState(String)
  /// Closed by our side.
  case closed
  /// Closed by the peer: SCTP ABORT or SHUTDOWN, DTLS close_notify or alert.
  case closedByPeer
  /// The peer closed this channel; the connection goes on.
  case channelClosedByPeer
  /// The path was lost: no consent from the peer for 30 seconds (RFC 7675), or its socket failed.
  case pathLost
  /// The peer violated the protocol or a limit.
  case violation(String)
  /// A library call failed that fails only without memory or descriptors.
  case resources(String)

  package var description: String {
    switch self {
    case .noPath(let tried): "no path to the peer; tried: \(tried)"
    case .handshakeTimeout: "the peer was reached, but did not finish the handshake"
    case .fingerprintMismatch: "the peer's certificate is not the one it announced"
    case .handshake(let reason): "the DTLS handshake failed: \(reason)"
    case .badDescription(let what): "unusable session description: \(what)"
    case .wrongState(let what): "not possible now: \(what)"
    case .closed: "closed"
    case .closedByPeer: "closed by the peer"
    case .channelClosedByPeer: "the channel was closed by the peer"
    case .pathLost: "the path to the peer was lost"
    case .violation(let what): "the peer broke the protocol: \(what)"
    case .resources(let what): "out of resources: \(what)"
    }
  }
}

package import P2PFSWire

/// Why a channel is over before its end.
package enum SessionChannelError: Error, Equatable, CustomStringConvertible {
  /// One side has reset it. The text may be the peer's: escape it before it is shown.
  case reset(ChannelMessage.ResetCode, String)
  /// The peer is gone: for longer than the session's timeout, or for good.
  case peerGone
  /// It was cancelled on this side.
  case cancelled
  /// There are too many channels, or the peer's program is too old to know of them.
  case unavailable(String)

  package var description: String {
    switch self {
    case .reset(.refused, let why): "the other computer refused: \(why)"
    case .reset(.brokenPipe, _): "no program reads the data on the other computer any more (broken pipe)"
    case .reset(.lost, _): "the other computer does not know this channel any more"
    case .reset(.cancelled, let why): "the other computer gave up" + (why.isEmpty ? "" : ": \(why)")
    case .reset(.failed, let why): "it failed on the other computer" + (why.isEmpty ? "" : ": \(why)")
    case .peerGone: "the other computer is gone"
    case .cancelled: "cancelled"
    case .unavailable(let why): why
    }
  }
}

package import P2PFSSession

/// Why a transfer ended without a result.
package enum TransferFailure: Error, Sendable, Equatable {
  /// The receiver declined; the reason comes from the other side: escape it before it is shown.
  case declined(String)
  /// This side declined.
  case refused(String)
  /// Both sides send, or both receive.
  case sameRole(sends: Bool)
  /// The other side speaks another version of this protocol.
  case version(UInt16)
  /// The other side broke the protocol.
  case violated(String)
  /// The other side sent no first message in time.
  case silent
  /// The channel is closed: the other side gave up, failed or is gone, or this side was interrupted.
  case channel(SessionChannelError)
  /// An error on this side that affects more than one file, typically a full disk.
  case local(String)
}

extension TransferFailure {
  /// The reason that is sent to the other side.
  var wordForPeer: String {
    switch self {
    case .declined, .channel: ""
    case .silent: "it heard nothing"
    case .refused(let why), .violated(let why), .local(let why): why
    case .sameRole(let sends):
      sends
        ? "both computers send; run \"p2pfs receive\" on one of them"
        : "both computers receive; run \"p2pfs send\" on one of them"
    case .version(let other): "it speaks version \(TransferMessage.version) of the transfer, not \(other)"
    }
  }
}

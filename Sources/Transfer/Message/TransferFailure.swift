package import P2PFSSession

/// Why a transfer ended without a result.
package enum TransferFailure: Error, Sendable, Equatable {
  /// The receiver did not want it; the reason is the other side's: escape it before it is shown.
  case declined(String)
  /// It was declined on this side.
  case refused(String)
  /// Both sides send, or both receive.
  case sameRole(sends: Bool)
  /// The other side speaks another version of this protocol.
  case version(UInt16)
  /// The other side broke the protocol.
  case violated(String)
  /// The other side has not said its first word in time.
  case silent
  /// The channel is over: the other side gave up or failed, or is gone, or this side was interrupted.
  case channel(SessionChannelError)
  /// Something failed on this side that concerns more than one file, a full disk above all.
  case local(String)
}

extension TransferFailure {
  /// What the other side is told when this ends the transfer.
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

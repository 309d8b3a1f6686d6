import P2PFSMeeting
import P2PFSCore
import Glibc
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import SystemPackage
import P2PFSTransport
import P2PFSWire

extension PeerError {
  /// Cancelled on this side.
  static let cancelled = PeerError(.cancelled, "cancelled")

  /// A message that no channel takes.
  static let tooLarge = PeerError(.tooLarge, "the message is too long: \(Channel.largestMessage) bytes are the most")

  /// A text that should be a code.
  init(_ error: MountSourceError) { self.init(.invalidCode, error.description) }

  /// Why two computers did not meet at `server`.
  init(_ error: MeetingError, at server: ServerAddress) {
    switch error {
    case .signaling(let error): self.init(error, at: server)
    case .wrongCode(let left):
      let rest = left.map {
        $0 == 0
          ? "; that was the last try, the other side has a new code"
          : "; \($0) \($0 == 1 ? "try is" : "tries are") left"
      }
      self.init(.wrongCode, "wrong code" + (rest ?? ""))
    case .codeSpent: self.init(.wrongCode, "\(error)")
    case .tampered(let what):
      self.init(.untrusted, "what came through the signaling server was not confirmed: \(what.escaped)")
    case .refused(let why): self.init(.refused, "the other computer refused: \(why.escaped)")
    case .brokenOff(isConfirmed: false):
      self.init(
        .untrusted, "the other side broke off when the code had been shown to it once: somebody may be in the way")
    case .abandoned, .brokenOff(isConfirmed: true):
      self.init(.gone, "the other computer left, or stopped answering, while connecting")
    case .transport(.noPath(let tried)):
      self.init(.noPath, "no path to the other computer through the NATs; tried: \(tried.escaped)")
    case .transport(.fingerprintMismatch):
      self.init(.untrusted, "the other computer showed another certificate than it announced")
    case .transport(let error):
      self.init(.noPath, "cannot connect to the other computer: \("\(error)".escaped)")
    }
  }

  /// Why the signaling server at `server` was of no use.
  init(_ error: SignalingError, at server: ServerAddress) {
    switch error {
    case .nobodyThere: self.init(.nobodyThere, "nobody waits under this code at \(server)")
    case .roomOccupied: self.init(.roomTaken, "somebody else waits under this code at \(server)")
    default: self.init(.signaling, "\(server): \("\(error)".escaped)")
    }
  }

  /// Why a channel is over, or was not to be had.
  init(_ error: SessionChannelError, isClosedHere: Bool) {
    switch error {
    case .reset(.refused, let why):
      self.init(.refused, "the other program refused" + (why.isEmpty ? "" : ": \(why.escaped)"))
    case .reset: self.init(.reset, "\(error)".escaped)
    case .peerGone where isClosedHere: self.init(.closed, "it was closed on this side")
    case .peerGone: self.init(.gone, "the other computer is gone")
    case .cancelled: self = .cancelled
    case .unavailable(let why): self.init(.unavailable, why)
    }
  }

  /// What the other computer's filesystem says of `path`.
  init(_ error: Errno, path: String) {
    let reason = String(cString: strerror(error.rawValue))
    self.init(.file, path.isEmpty ? reason : "\(path.escaped): \(reason)", errno: error.rawValue)
  }
}

import P2PFSPairing
package import P2PFSSignaling
package import P2PFSTransport

/// Why two peers did not meet.
package enum MeetingError: Error, CustomStringConvertible {
  /// The signaling server could not be used, or nobody is in the room.
  case signaling(SignalingError)
  /// The other side has another code. How many tries the code has left, if the exporter said so.
  case wrongCode(attemptsLeft: Int?)
  /// This side has shown its proof of the code, and the other one broke off. `isConfirmed`: it had shown that it knows the
  /// code, too; else somebody may have tried a guess in its place. Not to be tried again without the user.
  case brokenOff(isConfirmed: Bool)
  /// Others have tried so many wrong codes in the room that this one is spent.
  case codeSpent
  /// What came through the signaling server was not made by who knows the code.
  case tampered(String)
  /// The exporter does not take this guest, in its words.
  case refused(String)
  /// The other side left in the middle, or said nothing for too long. A code was not yet proved to it, so that it may be
  /// tried again.
  case abandoned
  /// No connection came about.
  case transport(TransportError)

  package var description: String {
    switch self {
    case .signaling(let error): "\(error)"
    case .wrongCode: "wrong code"
    case .brokenOff(isConfirmed: false): "the other side broke off when the code had been shown to it once"
    case .brokenOff(isConfirmed: true): "the other computer left, or stopped answering, after it had confirmed the code"
    case .codeSpent: "somebody has tried too many wrong codes; agree upon another one"
    case .tampered(let what): "what came through the signaling server was not from who knows the code (\(what))"
    case .refused(let why): "refused: \(why)"
    case .abandoned: "the other computer left, or stopped answering, while connecting"
    case .transport(let error): "\(error)"
    }
  }
}

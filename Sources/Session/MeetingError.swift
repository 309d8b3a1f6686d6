import Pairing
package import Signaling
package import Transport

/// Why two peers did not meet.
package enum MeetingError: Error, CustomStringConvertible {
  /// The signaling server could not be used, or nobody is in the room.
  case signaling(SignalingError)
  /// The other side has another code. How many tries the code has left, if the exporter said so.
  case wrongCode(attemptsLeft: Int?)
  /// Others have tried so many wrong codes in the room that this one is spent.
  case codeSpent
  /// What came through the signaling server was not made by who knows the code.
  case tampered(String)
  /// The exporter does not take this guest, in its words.
  case refused(String)
  /// The other side left in the middle, or said nothing for too long.
  case abandoned
  /// No connection came about.
  case transport(TransportError)

  package var description: String {
    switch self {
    case .signaling(let error): "\(error)"
    case .wrongCode: "wrong code"
    case .codeSpent: "somebody has tried too many wrong codes; agree upon another one"
    case .tampered(let what): "what came through the signaling server was not from who knows the code (\(what))"
    case .refused(let why): "refused: \(why)"
    case .abandoned: "the other computer left, or stopped answering, while connecting"
    case .transport(let error): "\(error)"
    }
  }
}

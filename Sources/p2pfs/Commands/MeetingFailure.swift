import P2PFSMeeting
import P2PFSCore
import P2PFSSession
import P2PFSSignaling
import P2PFSTransport

extension Failure {
  /// Why two computers did not meet, and what would help.
  init(_ error: MeetingError, server: ServerAddress) {
    switch error {
    case .signaling(let error): self.init(error, server: server)
    case .wrongCode(let left):
      let rest = left.map {
        $0 == 0
          ? " That was the last try: the other computer shows a new code."
          : " \(counted($0, "try is", "tries are")) left."
      }
      self.init(
        .refused,
        "wrong code, or a man in the middle. Compare it with what the other computer shows.\(rest ?? "") "
          + "It was tried once, and nothing else was.")
    case .brokenOff(isConfirmed: false):
      self.init(
        .refused,
        """
        could not verify the other computer: it broke off when the code had been tried once. Nothing else was tried, \
        since each time a man in the middle could make one guess at the code. Try again; if it happens again, use a \
        new code, and another signaling server.
        """)
    case .codeSpent:
      self.init(.refused, "somebody has tried ten wrong codes in this room. Agree upon another code for both sides.")
    case .tampered(let what):
      self.init(
        .refused,
        "could not verify the other computer: \(Console.escaped(what)). This may be a man-in-the-middle attack; try "
          + "again with a new code."
      )
    case .refused(let why): self.init(.refused, "the other computer refused: \(Console.escaped(why))")
    case .abandoned, .brokenOff(isConfirmed: true):
      self.init(.noPeer, "the other computer left, or stopped answering, in the middle of connecting. Try again.")
    case .transport(.noPath(let tried)):
      self.init(
        .noPath,
        """
        no path to the other computer through the NATs. Tried: \(Console.escaped(tried)).
        What helps: a TURN server, given to the signaling server (p2pfs signal --turn URI --turn-secret S); \
        letting UDP out of the firewall; or both computers in one network.
        """)
    case .transport(.fingerprintMismatch):
      self.init(
        .refused,
        "the other computer's certificate does not match its announced fingerprint: possible man-in-the-middle attack. "
          + "Try again with a new code, and another signaling server.")
    case .transport(let error):
      self.init(.noPath, "cannot connect to the other computer: \(Console.escaped("\(error)"))")
    }
  }

  /// Why the signaling server could not be used, and what would help.
  init(_ error: SignalingError, server: ServerAddress) {
    switch error {
    case .nobodyThere:
      self.init(
        .noPeer,
        "no host is waiting under this code at \(server). Check the code, and that p2pfs export still runs there; "
          + "--wait waits for it."
      )
    case .roomOccupied:
      self.init(.failed, "the room of this code is taken at \(server). Choose another code, or leave out --code.")
    case .refused(let reason): self.init(.failed, "\(server) refused: \(Console.escaped(reason))")
    case .notASignalingServer(SignalingError.noTLS):
      let plain = ServerAddress(scheme: .ws, host: server.host, port: server.port, path: server.path)
      self.init(
        .noSignaling,
        "cannot use the signaling server \(server): it does not speak TLS. If it is meant to be used without, which "
          + "shows others who meets whom but not what is said, write \(plain).")
    case .certificate, .certificateName:
      self.init(
        .noSignaling,
        "cannot use the signaling server \(server): \(Console.escaped(error.reason)). Check the address; a certificate "
          + "of your own authority is trusted if SSL_CERT_FILE names it.")
    default:
      self.init(
        .noSignaling,
        "cannot use the signaling server \(server): \(Console.escaped(error.reason)). Check the address, and that "
          + "p2pfs signal, or the command that showed the code, still runs there.")
    }
  }
}

extension SignalingError {
  /// The sentence without its subject and its end, to stand behind the server's name.
  fileprivate var reason: String {
    let text: String
    switch self {
    case .unreachable(let why): text = why
    case .timedOut: text = "it does not answer"
    case .notASignalingServer(let why): text = "what answers there is no signaling server (\(why))"
    case .certificate(let why): text = "its certificate is not trusted: \(why)"
    case .certificateName(let name): text = "its certificate is not for \(name)"
    case .violation(let why): text = "it breaks the protocol: \(why)"
    case .closed(let why): text = "it has closed the connection: \(why)"
    case .roomOccupied, .nobodyThere, .refused: text = "\(self)"
    }
    return text.hasSuffix(".") ? String(text.dropLast()) : text
  }
}

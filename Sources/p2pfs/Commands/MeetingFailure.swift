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
        $0 == 0 ? " That was the last try: the other computer shows a new code." : " \($0) tries are left."
      }
      self.init(
        .refused,
        "wrong code, or somebody is in the way. Compare it with what the other computer shows.\(rest ?? "") "
          + "It was tried once, and nothing else was.")
    case .brokenOff(isConfirmed: false):
      self.init(
        .refused,
        """
        the code was not confirmed: the other side broke off when it had been tried once. Nothing else was tried, since \
        each time somebody in the way could make one guess at the code. Try again; if it happens again, use a new code, \
        and another signaling server.
        """)
    case .codeSpent:
      self.init(.refused, "somebody has tried ten wrong codes in this room. Agree upon another code for both sides.")
    case .tampered(let what):
      self.init(
        .refused,
        "the code was not confirmed: \(Console.escaped(what)). Somebody may be in the way: try again, with a new code if it persists."
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
      self.init(.refused, "the other computer showed another certificate than it announced: somebody is in the way")
    case .transport(let error):
      self.init(.noPath, "cannot connect to the other computer: \(Console.escaped("\(error)"))")
    }
  }

  /// Why the signaling server was of no use.
  init(_ error: SignalingError, server: ServerAddress) {
    switch error {
    case .nobodyThere:
      self.init(
        .noPeer,
        "nobody is in this room at \(server). Check the code, and that p2pfs export still runs there; --wait waits for it."
      )
    case .roomOccupied:
      self.init(.failed, "the room of this code is taken at \(server). Choose another code, or leave out --code.")
    case .refused(let reason): self.init(.failed, "\(server) refused: \(Console.escaped(reason))")
    default:
      self.init(
        .noSignaling,
        "\(server) is of no use: \(Console.escaped("\(error)")) (Check the address, and that p2pfs signal, or the command that showed the code, still runs there.)"
      )
    }
  }
}

package import P2PFSCore

/// How far a guest is on its way to the other computer: what to tell a user who waits.
package enum MeetingStage: Sendable, Equatable, CustomStringConvertible {
  /// The signaling server is being reached.
  case reaching(ServerAddress)
  /// Nobody is in the room yet.
  case waiting
  /// The other computer is there, and is to prove that it knows the code.
  case greeting
  /// A path through the NATs is looked for, among so many addresses here; `servers` are asked for ours, or relay.
  case connecting(servers: [String])

  /// What is being tried, for after "Still trying:".
  package var description: String {
    switch self {
    case .reaching(let server): "to reach the signaling server at \(server)"
    case .waiting: "waiting for the other computer to come"
    case .greeting: "waiting for the other computer to answer"
    case .connecting(let servers):
      "looking for a path through the NATs"
        + (servers.isEmpty ? "; there is no STUN or TURN server" : ", with \(servers.joined(separator: ", "))")
    }
  }
}

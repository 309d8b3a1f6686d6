/// The path that a connection uses.
package struct ConnectionPath: Sendable, CustomStringConvertible {
  /// Our candidate of the selected pair.
  package let local: Candidate
  /// The peer's candidate of the selected pair.
  package let remote: Candidate
  /// The address of the TURN server that we send through; nil if we send directly.
  package let server: String?
  /// Smoothed round trip in seconds; 0 if not measured yet.
  package let roundTrip: Double
  /// Recent delivery rate in bytes a second; 0 if not measured yet.
  package let rate: Double
  /// Largest datagram in bytes.
  package let payload: Int
  /// Whether neither side sends through a relay, as far as we can tell.
  package var isDirect: Bool { local.kind != .relay && remote.kind != .relay }

  package var description: String {
    let way = server.map { "relayed by \($0)" } ?? (remote.kind == .relay ? "relayed by the peer" : "direct")
    return "\(way), \(local.address) (\(local.kind)) to \(remote.address) (\(remote.kind))"
  }
}

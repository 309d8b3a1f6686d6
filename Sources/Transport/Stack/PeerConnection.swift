package import P2PFSCore
import Synchronization

/// One connection to one peer: data channels over SCTP over DTLS over ICE, as WebRTC has them (RFC 8831).
///
/// It is used once: reconnecting needs a new one. Its methods run on the transport thread.
package actor PeerConnection {
  package nonisolated var unownedExecutor: UnownedSerialExecutor { TransportThread.shared.asUnownedSerialExecutor() }

  /// Our candidates that were gathered after the first `localDescription` returned. Finishes when all are gathered, which
  /// the peer should be told, or when the connection ends.
  package nonisolated let localCandidates: AsyncStream<Candidate>
  /// Channels that the peer opens. Finishes when the connection ends.
  package nonisolated let incomingChannels: AsyncStream<DataChannel>
  private nonisolated let connection: Connection

  /// Creates a connection that does nothing yet.
  package init(role: ConnectionRole, configuration: ICEConfiguration = ICEConfiguration()) {
    let candidates = AsyncStream.makeStream(of: Candidate.self)
    let incoming = AsyncStream.makeStream(of: DataChannel.self)
    localCandidates = candidates.stream
    incomingChannels = incoming.stream
    connection = Connection(
      role: role, configuration: configuration, candidates: candidates.continuation, incoming: incoming.continuation)
  }

  deinit {
    let connection = connection
    TransportThread.shared.enqueue { connection.close() }
  }

  /// When the last authenticated packet of the peer came in; nil before the first. From any thread.
  package nonisolated var lastHeard: Instant? {
    let time = connection.lastHeard.load(ordering: .relaxed)
    return time == 0 ? nil : Instant(nanoseconds: time)
  }

  /// Whether the kernel refused to send the last datagram. From any thread.
  package nonisolated var isFailing: Bool { connection.isFailing.load(ordering: .relaxed) }

  /// Our description: the offer, or the answer once the peer's is set. The first call starts gathering and returns the
  /// host candidates; later calls return the same with all candidates gathered since.
  /// - Throws: `wrongState` at an answerer without an offer, `resources`, or why the connection has ended.
  package func localDescription() throws(TransportError) -> SessionDescription { try connection.describe() }

  /// Sets the peer's description, once: at the answerer before `localDescription`, at the offerer after it. From now on
  /// the connection has 30 s to come up.
  /// - Throws: `badDescription`, `wrongState`, or why the connection has ended.
  package func setRemote(_ description: SessionDescription) throws(TransportError) {
    try connection.setRemote(description)
  }

  /// Adds a candidate of the peer; before `setRemote` it is kept. Candidates beyond `Limits.Transport.candidates` and those
  /// without a literal address are ignored.
  package func add(_ candidate: Candidate) { connection.add(candidate) }

  /// The peer has no more candidates.
  package func endOfCandidates() { connection.endOfCandidates() }

  /// Returns when channels can be opened: path found, peer verified, association up.
  /// - Throws: why the connection failed; at the latest 30 s after `setRemote`.
  package func connected() async throws(TransportError) {
    let result = await withCheckedContinuation { connection.whenUp($0) }
    try result.get()
  }

  /// The path in use; nil if there is none.
  package var path: ConnectionPath? {
    guard connection.state.ended == nil, let ice = connection.ice, let (local, remote) = ice.selectedPair
    else { return nil }
    return ConnectionPath(
      local: local, remote: remote, server: ice.selectedServer, roundTrip: connection.association?.roundTrip ?? 0,
      rate: connection.association?.estimate.rate ?? 0, payload: connection.payload)
  }

  /// Sets the receive buffer for data out of order and for partial messages, which SCTP announces as its window. Must not
  /// shrink.
  package func grant(receiveBuffer bytes: Int) { connection.association?.setReceiveBuffer(bytes) }

  /// Opens an ordered, reliable channel; messages may be sent at once.
  /// `protocol` is the subprotocol (RFC 8832 section 5.1), which defines the meaning of `label`.
  /// - Throws: `wrongState` if the connection is not up or has too many channels, or why it has ended.
  package func openChannel(label: String, protocol name: String = "") throws(TransportError) -> DataChannel {
    try connection.open(label: label, protocol: name)
  }

  /// Returns when the connection has ended and its sockets are closed.
  /// - Returns: why it ended.
  package func ended() async -> TransportError { await withCheckedContinuation { connection.whenEnded($0) } }

  /// Closes the connection: queued and unacknowledged data has up to a second to arrive, then the peer is notified (SCTP
  /// ABORT, DTLS close_notify). Returns when the sockets are closed.
  package func close() async {
    connection.close()
    _ = await ended()
  }
}

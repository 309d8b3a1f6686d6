package import Core
internal import Synchronization

/// One connection to one peer: data channels over SCTP over DTLS over ICE, as WebRTC has them (RFC 8831).
///
/// It serves once: a peer that is to be met again gets a new one. Its methods run on the transport thread.
package actor PeerConnection {
  package nonisolated var unownedExecutor: UnownedSerialExecutor { TransportThread.shared.asUnownedSerialExecutor() }

  /// Our candidates that are not yet in the description that `localDescription` returned first, as they are
  /// gathered. Finishes when there will be no more, which the peer should be told, or when the connection ends.
  package nonisolated let localCandidates: AsyncStream<Candidate>
  /// Channels that the peer opens. Finishes when the connection ends.
  package nonisolated let incomingChannels: AsyncStream<DataChannel>
  private nonisolated let connection: Connection

  /// A connection that does nothing yet.
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

  /// Our description: the offer, or, once the peer's is set, the answer. The first call starts gathering and returns
  /// with the host candidates; later ones return the same with what was gathered since.
  package func localDescription() throws(TransportError) -> SessionDescription { try connection.describe() }

  /// Sets the peer's description, once: of the answerer before `localDescription`, of the offerer after it. From here
  /// on the connection has 30 s to come up.
  package func setRemote(_ description: SessionDescription) throws(TransportError) {
    try connection.setRemote(description)
  }

  /// Adds a candidate of the peer; before `setRemote` it is kept. Those beyond `Limits.Transport.candidates` and those
  /// without a literal address are passed over.
  package func add(_ candidate: Candidate) { connection.add(candidate) }

  /// The peer has no more candidates.
  package func endOfCandidates() { connection.endOfCandidates() }

  /// Returns when channels can be opened: path found, peer verified, association up.
  /// - Throws: why not; at the latest 30 s after `setRemote`.
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

  /// Lets the peer have `bytes` here that came out of order or in parts; no less than before.
  package func grant(receiveBuffer bytes: Int) { connection.association?.setReceiveBuffer(bytes) }

  /// Opens an ordered, reliable channel; messages may be sent at once.
  /// `protocol` says what is spoken on it (RFC 8832, section 5.1); what `label` means is up to that.
  package func openChannel(label: String, protocol name: String = "") throws(TransportError) -> DataChannel {
    try connection.open(label: label, protocol: name)
  }

  /// Returns when the connection is over and its sockets are closed: why.
  package func ended() async -> TransportError { await withCheckedContinuation { connection.whenEnded($0) } }

  /// Ends the connection: what is queued and in flight has up to a second to arrive, then the peer is told (SCTP ABORT,
  /// DTLS close_notify). Returns when the sockets are closed.
  package func close() async {
    connection.close()
    _ = await ended()
  }
}

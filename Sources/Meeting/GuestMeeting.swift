import P2PFSSession
package import P2PFSCore
package import P2PFSPairing
package import P2PFSSignaling
package import P2PFSTransport

/// The guest's way to the exporter: into the room, through the handshake, to a connection.
package struct GuestMeeting: Sendable {
  /// Where the room is.
  package var server: ServerAddress
  /// What both know: from a code, or from an earlier meeting.
  package var credential: Credential
  /// Whether to wait for an exporter that is not there yet.
  package var waits: Bool
  /// The time in which a connection is to stand, in seconds: the handshake, and then ICE, DTLS and SCTP, as far as their own
  /// limits are not shorter.
  package var patience = Limits.Transport.connecting
  package var ice: ICEConfiguration
  package var client: SignalClient
  /// Told of each stage, from the task that meets; must not block.
  package var onStage: (@Sendable (MeetingStage) -> Void)?

  /// A meeting that has not begun.
  package init(
    server: ServerAddress, credential: Credential, waits: Bool = false, ice: ICEConfiguration = ICEConfiguration(),
    client: SignalClient = SignalClient()
  ) {
    self.server = server
    self.credential = credential
    self.waits = waits
    self.ice = ice
    self.client = client
  }

  /// Meets the exporter. Ends in bounded time, but for the wait for an exporter that is not there if `waits`.
  ///
  /// A code is proved once at most, for each proof lets the signaling server try one guess. After that neither
  /// `.abandoned` nor `.signaling` is thrown: so whoever sees one of these may try again by itself.
  package func meet() async throws(MeetingError) -> MeetingResult {
    let room: GuestConnection
    onStage?(.reaching(server))
    do { room = try await client.join(server, room: credential.room, wait: waits) } catch { throw .signaling(error) }
    defer { room.close() }
    if !room.isHostThere {
      onStage?(.waiting)
      try await awaitHost(in: room)
    }
    onStage?(.greeting)
    // Candidates are gathered while the handshake goes on.
    let configuration = ice.adding(room.iceServers)
    let connection = PeerConnection(role: .offerer, configuration: configuration)
    do {
      return try await meet(in: room, over: connection, servers: configuration.servers.map(\.description))
    } catch {
      // In the background: the next try does not wait for it.
      Task { await connection.close() }
      throw error
    }
  }

  /// Waits for an exporter that is not there yet. Only then addresses are of use, and relays are to be had.
  private func awaitHost(in room: GuestConnection) async throws(MeetingError) {
    for await event in room.events where event == .hostArrived { return }
    if let reason = room.closeReason { throw .signaling(reason) }
    throw .abandoned
  }

  private func meet(
    in room: GuestConnection, over connection: PeerConnection, servers: [String]
  ) async throws(MeetingError) -> MeetingResult {
    let offer: SessionDescription
    do { offer = try await connection.localDescription() } catch { throw .transport(error) }
    var state = GuestMeetingState(credential, offer: offer.text, waits: waits, patience: patience)
    let (events, feed) = AsyncStream.makeStream(
      of: NegotiationEvent.self, bufferingPolicy: .bufferingOldest(Limits.Session.meetingEvents))
    let signaling = Task { [waits] in
      for await event in room.events {
        switch event {
        case .hostArrived: feed.yield(.hostArrived)
        case .hostLeft: feed.yield(waits ? .hostLeft : .left)
        case .message(let payload): feed.yield(.message(payload))
        }
      }
      feed.yield(.left)
    }
    let candidates = feed.follow(connection)
    var outcome: Task<Void, Never>?
    var limit: Task<Void, Never>?
    defer { for task in [signaling, candidates, outcome, limit] { task?.cancel() } }
    var iterator = events.makeAsyncIterator()
    var actions = state.begin()
    while true {
      for action in actions {
        switch action {
        case .send(let payload): room.send(payload)
        case .limit(let seconds):
          limit?.cancel()
          limit = feed.limit(seconds: seconds)
        case .unlimited: limit?.cancel()
        case .reportConnecting: onStage?(.connecting(servers: servers))
        case .apply(let message): try await connection.apply(message)
        case .awaitConnection: outcome = feed.await(connection)
        case .finish(let resumption):
          do {
            return MeetingResult(link: try await DataChannelLink.open(on: connection), resumption: resumption)
          } catch {
            throw .transport(error)
          }
        case .fail(let error): throw error
        case .admit: preconditionFailure("only a host admits")
        }
      }
      guard let event = await iterator.next() else { throw state.failure }
      actions =
        switch event {
        case .hostArrived: state.hostArrived()
        case .hostLeft: state.hostLeft()
        case .message(let payload): state.received(payload)
        case .candidate(let candidate): state.found(.candidate(candidate.description))
        case .endOfCandidates: state.found(.endOfCandidates)
        case .connected(let result): state.connected(result)
        case .left: state.left(room.closeReason)
        }
    }
  }
}

extension MeetingError {
  /// A handshake that failed.
  init(_ error: HandshakeError) {
    switch error {
    case .wrongCode(let left): self = .wrongCode(attemptsLeft: left)
    case .provedAlready: self = .brokenOff(isConfirmed: false)
    default: self = .tampered("\(error)")
    }
  }
}

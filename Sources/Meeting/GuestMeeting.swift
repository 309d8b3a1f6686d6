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
    let encoded = MeetingMessage.description(offer.text).encoded
    var handshake = GuestHandshake(credential, offer: encoded)
    var negotiation: Negotiation?
    var resumption: ResumptionSecret?
    /// What we found out about ourselves before the handshake was through.
    var early: [MeetingMessage] = []

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
    // Until the exporter is there only its arrival is waited for; then the handshake has its time.
    var deadline: Task<Void, Never>?
    defer { for task in [signaling, candidates, outcome, deadline] { task?.cancel() } }
    feed.yield(.hostArrived)
    // The server's word does not lengthen the time of who does not wait.
    let handshakeLimit = min(patience, Limits.Session.handshake)
    if !waits { deadline = feed.limit(seconds: handshakeLimit) }

    for await event in events {
      switch event {
      case .hostArrived:
        guard negotiation == nil else {
          // It has come back, perhaps from elsewhere: what it has said of itself may not hold any more.
          if waits, !handshake.hasRiskedGuess { throw .abandoned }
          continue
        }
        do { room.send(try handshake.begin()) } catch { throw MeetingError(error) }
        guard waits else { continue }
        deadline?.cancel()
        deadline = feed.limit(seconds: handshakeLimit)
      case .hostLeft:
        // The next one begins anew, unless the code was proved to this one.
        guard negotiation == nil else { continue }
        guard !handshake.hasRiskedGuess else { throw .brokenOff(isConfirmed: false) }
        deadline?.cancel()
      case .message(let payload) where negotiation == nil:
        let step: GuestHandshake.Step
        do { step = try handshake.receive(payload) } catch { throw MeetingError(error) }
        switch step {
        case .reply(let answer): room.send(answer)
        case .established(let paired):
          onStage?(.connecting(servers: servers))
          resumption = paired.resumption
          negotiation = Negotiation(connection, paired) { room.send($0) }
          for message in early { try negotiation?.say(message) }
          early = []
        }
      case .message(let payload):
        // What follows the connection's beginning is of no use to us any more if it cannot be read.
        guard try await negotiation?.hear(payload) ?? false, outcome == nil else { continue }
        deadline?.cancel()
        outcome = feed.await(connection)
        if patience < Limits.Transport.connecting { deadline = feed.limit(seconds: patience) }
      case .candidate(let candidate):
        let message = MeetingMessage.candidate(candidate.description)
        if negotiation == nil { early.append(message) } else { try negotiation?.say(message) }
      case .endOfCandidates:
        if negotiation == nil { early.append(.endOfCandidates) } else { try negotiation?.say(.endOfCandidates) }
      case .connected(.failure(let error)): throw .transport(error)
      case .connected(.success):
        guard let resumption else { throw .abandoned }
        do { return MeetingResult(link: try await DataChannelLink.open(on: connection), resumption: resumption) } catch
        {
          throw .transport(error)
        }
      case .left:
        // Once both have described themselves they need the server no longer. But an exporter that has one of its own
        // may have died with it: who is in a hurry does not wait for that for long.
        if outcome != nil {
          deadline?.cancel()
          if patience < Limits.Transport.connecting { deadline = feed.limit(seconds: patience / 4) }
          continue
        }
        guard !handshake.hasRiskedGuess else { throw .brokenOff(isConfirmed: negotiation != nil) }
        if let reason = room.closeReason { throw .signaling(reason) }
        throw .abandoned
      }
    }
    throw handshake.hasRiskedGuess ? .brokenOff(isConfirmed: negotiation != nil) : .abandoned
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

package import P2PFSCore
package import P2PFSPairing
package import P2PFSSession
package import P2PFSSignaling
package import P2PFSTransport

/// How two computers meet by a code for one task: a pipe, a transfer. Whichever side comes first waits for the other.
package struct Rendezvous: Sendable {
  /// What this side does in the room.
  package enum Role: Sendable {
    /// It holds the room. With a code that nobody else can know yet, or one that was agreed upon.
    case host
    /// It comes to a room that somebody holds; see `waits`.
    case guest
    /// It comes to the room if somebody holds it, and holds it otherwise.
    case either
  }

  /// What the user should hear about.
  package enum Event: Sendable {
    /// The other side can come, with this code. `isNew`: it takes the place of one that was spent.
    case ready(Code, isNew: Bool)
    case wrongCode(left: Int)
    /// One more code is spent, and a new one is made only after so many seconds.
    case codePaused(seconds: Double)
    /// The connection is lost and being made again; then: it is back.
    case away
    case back
    case signalingLost(String)
    case signalingBack
    /// As a guest: how far it is.
    case stage(MeetingStage)
  }

  /// nil: a new one, for a host.
  package var code: Code?
  package var role: Role
  package var server: ServerAddress
  package var ice = ICEConfiguration()
  /// Seconds without the peer after which the task fails.
  package var timeout = Limits.Session.timeout
  /// What lets this side take the room of its code again: it held it before, and begins by holding it. nil: it did not.
  package var token: RoomToken?
  /// Wrong guesses at the code that are left; nil: all.
  package var attemptsLeft: Int?
  /// Whether a guest waits for a host that is not there yet.
  package var waits = false
  /// Serves the peer's requests for files, if something is shared.
  package var responder: (any Responder)?
  /// Takes the channels that the peer opens (`Session.acceptChannels`).
  package var onChannel: (@Sendable (SessionChannel) -> Void)?

  /// A meeting that has not begun.
  package init(_ code: Code?, as role: Role, at server: ServerAddress) {
    precondition(code != nil || role == .host, "only a host makes a code")
    self.code = code
    self.role = role
    self.server = server
  }

  /// Meets the other side. Ends early with `.abandoned` if the task is cancelled.
  ///
  /// However often the two roles take turns, a code is proved once (`GuestMeeting.meet`), and guesses of others are counted
  /// together.
  /// - Parameter report: called from tasks; must not block. Also during the life of the peer that is returned.
  package func meet(report: @escaping @Sendable (Event) -> Void) async throws(MeetingError) -> ConnectedPeer {
    let backoff = Backoff()
    let guesses = GuessCounter(AttemptLimit(left: attemptsLeft))
    var mayHold = token != nil
    while true {
      backoff.begin()
      if role != .host, !mayHold, let code {
        do throws(MeetingError) {
          return try await beGuest(code, report)
        } catch {
          guard role == .either, case .signaling(.nobodyThere) = error else { throw error }
        }
      }
      mayHold = false
      do throws(MeetingError) {
        return try await beHost(guesses, report)
      } catch {
        // Two that came at the same moment: the other one holds the room now.
        guard role == .either, case .signaling(.roomOccupied) = error, !Task.isCancelled else { throw error }
      }
      await backoff.wait()
    }
  }

  private func beGuest(
    _ code: Code, _ report: @escaping @Sendable (Event) -> Void
  ) async throws(MeetingError) -> ConnectedPeer {
    var meeting = GuestMeeting(server: server, credential: Credential(code), waits: waits, ice: ice)
    meeting.onStage = { report(.stage($0)) }
    let guest = try await JoinedRoom.meet(meeting, responder: responder, timeout: timeout, onChannel: onChannel)
    let watch = Task { [session = guest.session] in
      var wasAway = false
      for await state in session.states() {
        if state == .offline, !wasAway { report(.away) }
        if state == .online, wasAway { report(.back) }
        wasAway = state == .offline || state == .expired
      }
    }
    return ConnectedPeer(guest.session, guest.path, isHost: false) {
      watch.cancel()
      await guest.end()
    }
  }

  private func beHost(
    _ guesses: GuessCounter, _ report: @escaping @Sendable (Event) -> Void
  ) async throws(MeetingError) -> ConnectedPeer {
    var configuration = HostedRoom.Configuration()
    configuration.guesses = guesses
    configuration.code = code
    configuration.token = token
    configuration.isOnce = true
    configuration.keepsCode = code != nil
    configuration.sharesRoom = role == .either
    configuration.timeout = timeout
    configuration.ice = ice
    if let onChannel { configuration.onChannel = { channel, _ in onChannel(channel) } }
    if let responder { configuration.makeResponder = { _ in responder } }
    typealias Arrival = Result<(Session, ConnectionPath?), MeetingError>
    let (arrivals, feed) = AsyncStream.makeStream(of: Arrival.self, bufferingPolicy: .bufferingOldest(1))
    let host = HostedRoom(configuration, server: server) { event in
      switch event {
      case .ready(let code, let isNew): report(.ready(code, isNew: isNew))
      case .wrongCode(let left): report(.wrongCode(left: left))
      case .codePaused(let seconds): report(.codePaused(seconds: seconds))
      case .codeSpent: feed.yield(.failure(.codeSpent))
      case .arrived(let session, let path): feed.yield(.success((session, path)))
      case .away: report(.away)
      case .back: report(.back)
      case .left: break
      case .signalingLost(let why), .signalingAwaited(let why): report(.signalingLost(why))
      case .signalingBack: report(.signalingBack)
      }
    }
    let running = Task {
      do throws(SignalingError) {
        try await host.run()
        feed.yield(.failure(.abandoned))
      } catch {
        feed.yield(.failure(.signaling(error)))
      }
    }
    let first = await withTaskCancellationHandler {
      await arrivals.first { _ in true }
    } onCancel: {
      running.cancel()
    }
    guard case .success(let (session, path)) = first else {
      running.cancel()
      await host.stop()
      if case .failure(let error) = first { throw error }
      throw .abandoned
    }
    return ConnectedPeer(session, path, isHost: true) {
      await session.leave()
      running.cancel()
      await host.stop()
    }
  }
}

/// The other computer, once it was met.
package struct ConnectedPeer: Sendable {
  /// The relation with it, which outlives its connections.
  package let session: Session
  /// How it was reached first.
  package let path: ConnectionPath?
  /// Whether this side held the room: of two sides that are otherwise alike, the other one opens the channel.
  package let isHost: Bool
  /// Ends the relation. Returns when the peer has heard it, or had a moment to; also in a task that was cancelled.
  package let end: @Sendable () async -> Void

  init(_ session: Session, _ path: ConnectionPath?, isHost: Bool, end: @escaping @Sendable () async -> Void) {
    self.session = session
    self.path = path
    self.isHost = isHost
    self.end = end
  }
}

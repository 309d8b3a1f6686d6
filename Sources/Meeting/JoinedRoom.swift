import P2PFSCore
import Logging
import P2PFSPairing
package import P2PFSSession
import P2PFSSignaling
package import P2PFSTransport

/// The guest's side of a relation with an exporter: meets it by the code, and again without it whenever the
/// connection is lost, until the session is over.
package actor JoinedRoom {
  private let meeting: GuestMeeting
  private let log = Logger(label: "p2pfs.guest")
  private let backoff = Backoff()
  /// Makes another connection; nil if none is wanted.
  private var attempt: Task<Void, Never>?
  private var attempts = 0
  /// How many connections there were when it began.
  private var connectionsBefore: UInt64 = 0
  /// When the last connection stood, and when one turned out not to be wanted after all.
  private var connectedAt = Instant.now
  private var falseAlarm: Instant?

  /// The session, which outlives its connections.
  package nonisolated let session: Session
  /// How the exporter was reached first.
  package nonisolated let path: ConnectionPath?

  private init(_ meeting: GuestMeeting, _ session: Session, _ path: ConnectionPath?) {
    self.meeting = meeting
    self.session = session
    self.path = path
  }

  /// Meets the exporter and starts a session with it.
  /// - Parameters:
  ///   - responder: serves the exporter in turn, if something is shared back.
  ///   - timeout: seconds without the exporter after which operations fail.
  ///   - onChannel: takes the channels that the exporter opens (`Session.acceptChannels`).
  package static func meet(
    _ meeting: GuestMeeting, responder: (any Responder)? = nil, timeout: Double = Limits.Session.timeout,
    onChannel: (@Sendable (SessionChannel) -> Void)? = nil
  ) async throws(MeetingError) -> JoinedRoom {
    let met = try await firstMeeting(meeting)
    let session = Session(.init(identity: met.identity, timeout: timeout), responder: responder)
    if let onChannel { session.acceptChannels(onChannel) }
    let states = session.states()
    session.connect(met.link)
    SessionClock.start(session)
    let greeted = await withTaskGroup(of: Bool.self) { group in
      group.addTask {
        for await state in states where state == .online || state == .over { return state == .online }
        return false
      }
      group.addTask {
        try? await Task.sleep(for: .seconds(Limits.Session.greeting))
        return false
      }
      defer { group.cancelAll() }
      return await group.next() ?? false
    }
    guard greeted else {
      session.end()
      throw .brokenOff(isConfirmed: true)
    }
    var again = meeting
    again.credential = Credential(met.resumption)
    again.waits = true
    again.onStage = nil
    let peer = JoinedRoom(again, session, await met.link.path())
    await peer.keepConnected()
    return peer
  }

  /// The first meeting. Who waits for the exporter goes on waiting when it comes, and goes again before the code was proved
  /// to it; after that it is over, since each proof lets somebody in between try a guess.
  private static func firstMeeting(_ meeting: GuestMeeting) async throws(MeetingError) -> MeetingResult {
    let backoff = Backoff()
    var wasThere = false
    // Until when it is no mistake that the server is not reached.
    var patience = Instant.now
    while true {
      backoff.begin()
      do throws(MeetingError) {
        return try await meeting.meet()
      } catch {
        guard meeting.waits, !Task.isCancelled else { throw error }
        if !LocalAddress.hasNetwork, !LocalAddress.isLoopback(meeting.server.host) {
          patience = .now.advanced(by: Limits.Session.settling)
        }
        switch error {
        case .abandoned, .signaling(.closed): wasThere = true
        // A server that is started again is waited for, too; one that was never reached is a mistake, unless there was no
        // network at all a moment ago, as while a computer starts.
        case .signaling(let reason) where wasThere || reason.kind == .unreachable && .now < patience: break
        default: throw error
        }
        await backoff.wait(after: error.kind)
      }
    }
  }

  private func keepConnected() {
    let changes = Task { [weak self] in
      for await change in NetworkWatch.shared.changes() { await self?.networkChanged(change) }
    }
    // Strongly: connections are made until the session is over, whoever holds this.
    Task {
      for await isNeeded in session.needs() { connectionIsNeeded(isNeeded) }
      changes.cancel()
      attempt?.cancel()
    }
  }

  private func connectionIsNeeded(_ isNeeded: Bool) {
    log.debug("\(isNeeded ? "another connection is needed" : "connected again")")
    if isNeeded {
      begin()
    } else if let attempt {
      // It is another connection that stands, or the old one was heard again.
      if session.connections == connectionsBefore { falseAlarm = .now }
      attempt.cancel()
      self.attempt = nil
    }
  }

  private func networkChanged(_ change: NetworkWatch.Change) {
    log.debug("the network has changed: \(change)")
    falseAlarm = nil
    backoff.reset()
    if let attempt {
      // It began in a network that is no more.
      attempt.cancel()
      self.attempt = nil
      begin()
    }
    // Not waited for: the next change may come in the middle.
    Task { [session] in await session.networkChanged() }
  }

  /// Starts to meet the exporter again. The connection in use serves on until another one stands.
  private func begin() {
    guard attempt == nil, session.status != .over else { return }
    // A connection that breaks as soon as it stands is not made again and again without a pause.
    let isEarly = Instant.now.seconds(since: connectedAt) < Limits.Session.longestBackoff
    var pause = 0.0
    if session.isOnline, let falseAlarm {
      pause = Limits.Session.falseAlarm - Instant.now.seconds(since: falseAlarm)
    }
    attempts += 1
    connectionsBefore = session.connections
    attempt = Task { [weak self, meeting, session, backoff, log, attempts] in
      if pause > 0 { try? await Task.sleep(for: .seconds(pause)) }
      if isEarly { await backoff.wait(after: .gone) } else { backoff.reset() }
      var meeting = meeting
      meeting.patience = Limits.Session.firstPatience
      while !Task.isCancelled, session.needsConnection {
        backoff.begin()
        do throws(MeetingError) {
          let met = try await meeting.meet()
          await self?.isConnected()
          session.connect(met.link)
          // It counts when the exporter has greeted. One that does not is given up by the session's clock, or for the
          // next one: it may have died meanwhile.
          let stood = Instant.now
          while !Task.isCancelled, session.isBeingGreeted, Instant.now.seconds(since: stood) < meeting.patience / 4 {
            try? await Task.sleep(for: .milliseconds(50))
          }
          if session.isBeingGreeted { meeting.patience *= 2 }
          if session.needsConnection { await backoff.wait(after: .gone) }
        } catch {
          guard !Task.isCancelled else { return }
          log.debug("not connected again yet: \(error)")
          // Who was not met at all says nothing of the time that a meeting takes.
          if case .signaling = error {} else { meeting.patience *= 2 }
          await backoff.wait(after: error.kind)
        }
      }
      await self?.attemptIsOver(attempts)
    }
  }

  private func attemptIsOver(_ number: Int) {
    guard number == attempts, attempt != nil else { return }
    attempt = nil
    // It may have broken again meanwhile.
    if session.needsConnection { begin() }
  }

  private func isConnected() { connectedAt = .now }

  /// Ends the session and everything that belongs to it. Returns when the exporter has heard it, or had a moment to.
  package func end() async {
    attempt?.cancel()
    await session.leave()
  }
}

extension MeetingError {
  /// How it counts for the time of the next try.
  var kind: Backoff.Failure {
    switch self {
    case .signaling(let error): error.kind
    case .abandoned, .brokenOff: .gone
    default: .other
    }
  }
}

extension SignalingError {
  /// How it counts for the time of the next try.
  var kind: Backoff.Failure {
    switch self {
    case .unreachable, .timedOut: .unreachable
    case .closed: .gone
    default: .other
    }
  }
}

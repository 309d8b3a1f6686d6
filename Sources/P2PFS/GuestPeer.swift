import Core
import Logging
import Pairing
package import Session
import Signaling
import Transport

/// The guest's side of a relation with an exporter: meets it by the code, and again without it whenever the
/// connection is lost, until the session is over.
package actor GuestPeer {
  private let meeting: GuestMeeting
  private let log = Logger(label: "p2pfs.guest")
  private var reconnection: Task<Void, Never>?

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
  ) async throws(MeetingError) -> GuestPeer {
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
    let peer = GuestPeer(again, session, await met.link.path())
    await peer.keepConnected()
    return peer
  }

  /// The first meeting. Who waits for the exporter goes on waiting when it comes, and goes again before the code was proved
  /// to it; after that it is over, since each proof lets somebody in between try a guess.
  private static func firstMeeting(_ meeting: GuestMeeting) async throws(MeetingError) -> Met {
    var backoff = Backoff()
    var wasThere = false
    while true {
      do throws(MeetingError) {
        return try await meeting.meet()
      } catch {
        guard meeting.waits, !Task.isCancelled else { throw error }
        switch error {
        case .abandoned, .signaling(.closed): wasThere = true
        // A server that is started again is waited for, too; one that was never reached is a mistake.
        case .signaling where wasThere: break
        default: throw error
        }
        await backoff.wait()
      }
    }
  }

  private func keepConnected() {
    reconnection = Task { [meeting, session, log] in
      var backoff = Backoff()
      var since = Instant.now
      for await state in session.states() where state == .offline || state == .expired {
        // A connection that breaks as soon as it stands is not made again and again without a pause.
        if Instant.now.seconds(since: since) > Limits.Session.longestBackoff {
          backoff.reset()
        } else {
          await backoff.wait()
        }
        while !Task.isCancelled, session.status == .offline || session.status == .expired {
          do throws(MeetingError) {
            let met = try await meeting.meet()
            session.connect(met.link)
            // It counts when the exporter has greeted. One that does not is given up by the session's clock.
            while !Task.isCancelled, session.isBeingGreeted { try? await Task.sleep(for: .milliseconds(50)) }
            since = Instant.now
            if session.status != .online { await backoff.wait() }
          } catch {
            log.debug("not connected again yet: \(error)")
            await backoff.wait()
          }
        }
      }
    }
  }

  /// Ends the session and everything that belongs to it. Returns when the exporter has heard it, or had a moment to.
  package func end() async {
    reconnection?.cancel()
    await session.leave()
  }
}

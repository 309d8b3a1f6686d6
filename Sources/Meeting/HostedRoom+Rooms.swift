import P2PFSCore
import Logging
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import P2PFSTransport

/// The rooms of guests that may come back, and their life in a network that changes.
extension HostedRoom {
  /// Holds the room where a guest that has lost its connection is met again.
  func holdRoom(_ resumption: ResumptionSecret, of session: Session, _ backoff: Backoff) async {
    let credential = Credential(resumption)
    let token = RoomToken(bytes: saved.token) ?? RoomToken.random()
    while !Task.isCancelled, session.status != .over {
      backoff.begin()
      let began = Instant.now
      var failure = Backoff.Failure.other
      do throws(SignalingError) {
        let room = try await configuration.client.host(server, room: resumption.room, token: token)
        guests[session.identity]?.connection = room
        log.debug("holding the room of a guest")
        let door = ResumptionAdmission(self)
        await RoomHost(room, credential: credential, ice: configuration.ice, doorkeeper: door, log: log).serve()
        room.close()
        guests[session.identity]?.connection = nil
        if Instant.now.seconds(since: began) > Limits.Session.longestBackoff { backoff.reset() }
      } catch {
        log.debug("cannot hold the room of a guest: \(error)")
        // Where the guest is connected it has time, and the room of the code tells when the server is back.
        if serving == nil || configuration.isOnce || session.needsConnection { failure = error.kind }
      }
      if !Task.isCancelled { await backoff.wait(after: failure) }
    }
  }

  // MARK: - The network

  /// Takes the rooms again where the server is not reached any more, so that guests find their way.
  func networkChanged(_ change: NetworkWatch.Change) {
    log.debug("the network has changed: \(change)")
    backoff.reset()
    for guest in guests.values { guest.backoff.reset() }
    for room in [room] + guests.values.map(\.connection) {
      switch change {
      case .network: room?.probe()
      // TCP would find out in minutes, and the server has long closed it.
      case .slept: room?.abandon()
      }
    }
    // Not waited for: the next change may come in the middle.
    for session in guests.values.map(\.session) { Task { await session.networkChanged() } }
  }

  /// A guest is silent. If it is because this side has moved unnoticed (a router with another address), the server is not
  /// reached either.
  func doubts(_ identity: [UInt8]) {
    guard let guest = guests[identity] else { return }
    log.debug("a guest is not heard")
    guest.connection?.probe()
    room?.probe()
  }
}

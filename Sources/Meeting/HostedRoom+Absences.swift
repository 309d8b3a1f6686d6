import P2PFSCore
import Logging
import P2PFSSession

/// Guests that are away: what they keep, and for how long (`Absences`).
extension HostedRoom {
  /// Who is away.
  func absences(now: Instant = .now) -> Absences {
    Absences(
      guests.values.map { guest in
        let isAway = !guest.session.isOnline
        let away = isAway ? guest.awaySince.map { now.seconds(since: $0) } : nil
        // A guest from before a restart may have files open that are opened again when it comes; one that has not greeted
        // may be about to.
        let hasNothingOpen =
          guest.wasOnline
          ? guest.responder?.hasOpenFiles != true && guest.session.openChannels.isEmpty
          : !guest.isRestored && away ?? 0 > Limits.Session.greeting
        return Absences.Guest(
          identity: guest.session.identity, away: away,
          isHolding: guest.wasOnline, holdsFiles: guest.responder?.holdsSharedFiles ?? false,
          holdsMemory: guest.allowance != .least, hasNothingOpen: hasNothingOpen)
      })
  }

  /// Gives up those that were away for too long, and closes what others had open that were away for long, or that is
  /// needed.
  func countAbsences(now: Instant = .now) {
    let absences = absences(now: now)
    for guest in absences.dropped.compactMap({ guests[$0] }) {
      guest.session.end()
      forget(guest)
    }
    for guest in absences.resting.compactMap({ guests[$0] }) { rest(guest) }
    // One at a time: it may be enough.
    if configuration.isShortOfFiles?() ?? false, let guest = self.absences(now: now).files.flatMap({ guests[$0] }) {
      log.debug("the files of a guest that is away are closed, since others need them")
      rest(guest)
    }
    if !absences.dropped.isEmpty { save() }
  }

  /// Before a guest is taken in: it is to have more than the least memory, if guests that are away can do without.
  func makeRoom() {
    while pool.isScarce, let guest = absences().memory.flatMap({ guests[$0] }) { rest(guest) }
  }

  /// Closes what a guest had open that is away: its place is taken by a session that knows the guest and nothing else,
  /// with an instance of its own, as if the exporter had been started again.
  private func rest(_ guest: Guest) {
    let (identity, since) = (guest.session.identity, guest.awaySince)
    forget(guest)
    guest.session.suspend()
    take(identity, guest.resumption, isResting: true).awaySince = since
  }
}

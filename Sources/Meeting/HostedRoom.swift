package import P2PFSCore
import Logging
import P2PFSPairing
import P2PFSSession
package import P2PFSSignaling
import SystemPackage
import P2PFSTransport

/// The host of a room and its guests: lets guests in, serves them, and keeps their sessions while they are away.
package actor HostedRoom {
  final class Guest {
    let session: Session
    let resumption: ResumptionSecret
    let allowance: GuestPool.Allowance
    /// What serves its requests for files; nil: nothing.
    let responder: (any Responder)?
    /// Whether it came to this export before that was started again.
    var isRestored = false
    /// Whether it was away for so long that its session keeps its place only, and is replaced when it comes.
    var isResting = false
    var room: Task<Void, Never>?
    var watches: [Task<Void, Never>] = []
    /// The room where it is met again, while it is held, and the times between the tries to hold it.
    var connection: HostConnection?
    let backoff = Backoff()
    /// How it is reached.
    var path: ConnectionPath?
    /// Whether it was connected in this session, so that it may have something open.
    var wasOnline = false
    /// Since when it is not connected; a guest that has not greeted yet is not.
    var awaySince: Instant? = Instant.now
    init(
      _ session: Session, _ resumption: ResumptionSecret, _ allowance: GuestPool.Allowance,
      _ responder: (any Responder)?
    ) {
      self.session = session
      self.resumption = resumption
      self.allowance = allowance
      self.responder = responder
    }
  }

  let configuration: Configuration
  let server: ServerAddress
  private let report: @Sendable (Event) -> Void
  let log = Logger(label: "p2pfs.export")
  var pool = GuestPool()
  private let savePath: String?
  private(set) var saved: SavedExport
  private var code: Code
  private var attempts: AttemptLimit
  private var guesses: GuessCounter
  private var pause = RenewalPause()
  private(set) var guests: [[UInt8]: Guest] = [:]
  private(set) var serving: Task<Void, Never>?
  /// The room of the code, while it is held, and the times between the tries to hold it.
  private(set) var room: HostConnection?
  let backoff = Backoff()
  private var hadGuest = false

  /// An export that is met at `server`. `report` is called from the host's tasks and must not block.
  package init(
    _ configuration: Configuration, server: ServerAddress, report: @escaping @Sendable (Event) -> Void
  ) {
    var configuration = configuration
    // One of many guests holds what it is granted when it is let in; the only one whatever its path bears.
    if !configuration.isOnce { configuration.ice.receiveBuffer = Limits.Transport.guestBuffer }
    self.configuration = configuration
    self.server = server
    self.report = report
    let memory = configuration.isOnce ? nil : configuration.memory
    savePath = memory?.path
    let remembered = memory?.remembered
    let code = configuration.code ?? remembered.flatMap { try? Code(parsing: $0.code) } ?? Code.random()
    var saved = remembered ?? SavedExport(code: code.text, token: (configuration.token ?? RoomToken.random()).bytes)
    if saved.code != code.text {
      saved.code = code.text
      saved.wrongAttempts = 0
    }
    self.code = code
    self.saved = saved
    let attempts = AttemptLimit(left: max(0, AttemptLimit().left - saved.wrongAttempts))
    self.attempts = attempts
    guesses = configuration.guesses ?? GuessCounter(attempts)
  }

  /// Remembers the port of this export's own signaling server; not in the place of one where guests are going to look
  /// for it, which may be free again next time.
  package func remember(port: Int) {
    if saved.guests.isEmpty || saved.port == nil { saved.port = port }
  }

  /// Serves until the task is cancelled, or, with `isOnce`, until the guest has left.
  /// - Throws: if the room cannot be had at first, unless there are guests that may come back: they look for it whenever
  ///   there is a server, and a network, again. Later troubles are reported and overcome.
  package func run() async throws(SignalingError) {
    restoreGuests()
    let isAwaited = !guests.isEmpty
    let expiry = Task { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .seconds(Limits.Session.census))
        await self?.countAbsences()
      }
    }
    let changes = Task { [weak self] in
      for await change in NetworkWatch.shared.changes() { await self?.networkChanged(change) }
    }
    defer {
      expiry.cancel()
      changes.cancel()
    }
    var announced: Code?
    var isLost = false
    // At first each reason is told: there may be no network yet, and then a server that the user has misspelt.
    var told: Set<String> = []
    var credential: (code: Code, credential: Credential)?
    var occupied = 0
    while !Task.isCancelled, !(configuration.isOnce && hadGuest) {
      if guesses.isSpent {
        guard !configuration.keepsCode else { return report(.codeSpent) }
        let seconds = pause.next()
        if seconds > 0 {
          report(.codePaused(seconds: seconds))
          try? await Task.sleep(for: .seconds(seconds))
          guard !Task.isCancelled else { break }
        }
        renewCode()
      }
      let (code, token) = (code, RoomToken(bytes: saved.token) ?? RoomToken.random())
      if credential?.code != code {
        // scrypt takes its time: not on this actor.
        credential = (code, await Task.detached { Credential(code) }.value)
      }
      guard let credential = credential?.credential else { preconditionFailure("it was just made") }
      backoff.begin()
      var failure = Backoff.Failure.other
      do throws(SignalingError) {
        let room = try await configuration.client.host(
          server, room: code.room, token: token, isTransient: configuration.sharesRoom)
        if isLost {
          isLost = false
          report(.signalingBack)
        }
        self.room = room
        // Those that wait for the server, too.
        for guest in guests.values { guest.backoff.reset() }
        let since = Instant.now
        // What somebody was told must hold after a crash, too.
        save()
        if announced != code { report(.ready(code, isNew: announced != nil)) }
        announced = code
        let host = RoomHost(
          room, credential: credential, ice: configuration.ice,
          doorkeeper: CodeAdmission(self, code: code, guesses: guesses),
          log: log)
        let serving = Task { await host.serve() }
        self.serving = serving
        await withTaskCancellationHandler {
          await serving.value
        } onCancel: {
          serving.cancel()
        }
        room.close()
        self.room = nil
        // A server that throws us out at once is not asked without a pause.
        if Instant.now.seconds(since: since) > Limits.Session.longestBackoff { backoff.reset() }
      } catch {
        guard !Task.isCancelled else { break }
        if announced != code, configuration.code == nil, error == .roomOccupied, occupied < 8 {
          occupied += 1
          renewCode()
          continue
        }
        if error == .roomOccupied ? announced == nil || configuration.sharesRoom : announced == nil && !isAwaited {
          throw error
        }
        if announced == nil {
          if told.count < 8, told.insert("\(error)").inserted { report(.signalingAwaited("\(error)")) }
        } else if !isLost {
          isLost = true
          report(.signalingLost("\(error)"))
        }
        failure = error.kind
      }
      if !guesses.isSpent, !Task.isCancelled, !(configuration.isOnce && hadGuest) {
        await backoff.wait(after: failure)
      }
    }
    while !Task.isCancelled, !guests.isEmpty { try? await Task.sleep(for: .milliseconds(200)) }
  }

  /// Ends: connections are closed, what guests had open too. They may come back if the export is started again; where
  /// it is not remembered, they are told that it is over.
  package func stop() async {
    serving?.cancel()
    save()
    let ending = guests.values
    guests = [:]
    for guest in ending { guest.room?.cancel() }
    // Whoever can come back is not told that it is over.
    guard savePath == nil else { return ending.forEach { $0.session.suspend() } }
    await withTaskGroup(of: Void.self) { group in
      for session in ending.map(\.session) { group.addTask { await session.leave() } }
    }
  }

  // MARK: - The code

  func wrongCode(_ counted: AttemptLimit, of tried: Code) {
    // Reports may overtake each other, and the code's replacement.
    guard tried == code, counted.left < attempts.left else { return }
    attempts = counted
    saved.wrongAttempts = AttemptLimit().left - counted.left
    save()
    report(.wrongCode(left: attempts.left))
    if attempts.isSpent { serving?.cancel() }
  }

  private func renewCode() {
    code = Code.random()
    attempts = AttemptLimit()
    guesses = GuessCounter()
    saved.code = code.text
    saved.wrongAttempts = 0
  }

  func save() {
    guard let savePath else { return }
    saved.guests = guests.map { identity, guest in
      SavedExport.Guest(identity: identity, resumption: guest.resumption.bytes.withBytes { Array($0) })
    }
    do { try StateDirectory.write(saved.text, to: savePath) } catch {
      log.warning("cannot write \(savePath): \(error)")
    }
  }

  // MARK: - Guests

  /// Whether another guest fits, if need be in the place of one that is away.
  func refusal() -> String? {
    if configuration.isOnce, hadGuest { return "it was shared with one guest only" }
    guard guests.count >= Limits.Session.guests, absences().place == nil else { return nil }
    return "it has \(Limits.Session.guests) guests, the most it takes"
  }

  func admit(_ met: MeetingResult) async {
    if let guest = guests[met.identity], guest.session.status == .over { forget(guest) }
    if let guest = guests[met.identity], guest.isResting {
      // Room for what it does from here on.
      forget(guest)
      guest.session.suspend()
      makeRoom()
      take(met.identity, met.resumption)
    }
    if let guest = guests[met.identity] {
      // With a session that was never connected, its first one having been closed for others, what serves the guest is to
      // hear of it as of a new one.
      let isNew = !guest.wasOnline && !guest.isRestored
      let path = await met.link.path()
      guest.path = path
      await connect(guest, met.link)
      if isNew { report(.arrived(guest.session, path)) }
      return
    }
    if let why = refusal() {
      log.debug("a guest came too late: \(why)")
      met.link.close()
      return
    }
    if guests.count >= Limits.Session.guests, let longest = absences().place.flatMap({ guests[$0] }) {
      longest.session.end()
      forget(longest)
    }
    hadGuest = true
    makeRoom()
    let guest = take(met.identity, met.resumption)
    if configuration.isOnce { serving?.cancel() }
    // Before it is served: should this process be killed, the next one knows the guest.
    save()
    guest.path = await met.link.path()
    await connect(guest, met.link)
    report(.arrived(guest.session, guest.path))
  }

  private func connect(_ guest: Guest, _ link: DataChannelLink) async {
    if !configuration.isOnce { await link.grant(receiveBuffer: guest.allowance.writeCredit) }
    guest.session.connect(link)
  }

  @discardableResult
  func take(_ identity: [UInt8], _ resumption: ResumptionSecret, isResting: Bool = false) -> Guest {
    let allowance = isResting ? pool.grantLeast() : pool.grant()
    let responder = configuration.makeResponder?(
      SessionPlace(identity: identity, journal: savePath.map { SavedExport.journal(of: identity, beside: $0) }))
    let session = Session(
      .init(
        identity: identity, timeout: configuration.timeout, grantedWriteCredit: allowance.writeCredit,
        backlog: allowance.backlog),
      responder: responder, log: log)
    if let onChannel = configuration.onChannel {
      session.acceptChannels { [weak session] channel in if let session { onChannel(channel, session) } }
    }
    let guest = Guest(session, resumption, allowance, responder)
    guest.isResting = isResting
    guests[identity] = guest
    // One reader, so that the changes come in their order.
    let states = session.states()
    let watch = Task { [weak self, weak session] in
      var wasOnline = false
      for await state in states {
        guard let self, let session else { return }
        await changed(session, state, wasOnline: wasOnline)
        if state == .online { wasOnline = true }
      }
    }
    let needs = Task { [weak self, needs = session.needs()] in
      for await isNeeded in needs where isNeeded { await self?.doubts(identity) }
    }
    guest.watches = [watch, needs]
    SessionClock.start(session)
    guest.room = Task { [weak self, backoff = guest.backoff] in
      await self?.holdRoom(resumption, of: session, backoff)
    }
    return guest
  }

  private func changed(_ session: Session, _ state: SessionState, wasOnline: Bool) {
    guard let guest = guests[session.identity], guest.session === session else { return }
    switch state {
    case .online:
      guest.awaySince = nil
      guest.wasOnline = true
      if wasOnline || guest.isRestored { report(.back(guest.path)) }
    case .offline:
      if guest.awaySince == nil { guest.awaySince = Instant.now }
      if wasOnline { report(.away(guest.path)) }
    case .expired: break
    case .over:
      forget(guest)
      save()
      report(.left(guest.path))
    }
  }

  func forget(_ guest: Guest) {
    guard guests[guest.session.identity] === guest else { return }
    guests[guest.session.identity] = nil
    guest.room?.cancel()
    pool.reclaim(guest.allowance)
  }

  private func restoreGuests() {
    // Those of sessions that are not known any more are in nobody's way but the disk's.
    if let savePath { SavedExport.keepJournals(of: saved.guests.map(\.identity), beside: savePath) }
    for known in saved.guests.prefix(Limits.Session.guests) {
      guard let resumption = ResumptionSecret(bytes: known.resumption), guests[known.identity] == nil else { continue }
      take(known.identity, resumption).isRestored = true
    }
  }
}

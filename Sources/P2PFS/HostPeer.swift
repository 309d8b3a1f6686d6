package import Core
package import Export
import Logging
package import Pairing
package import Session
package import Signaling
import SystemPackage
package import Transport

/// The host of a room and its guests: lets guests in, serves them, and keeps their sessions while they are away.
package actor HostPeer {
  /// What to share, and where to be met.
  package struct Configuration: Sendable {
    /// What it is remembered under, so that it can be started again with the same code and guests: the absolute path
    /// of the shared directory. nil: nothing is remembered.
    package var directory: String?
    /// Where to be met; nil: at a signaling server of our own.
    package var server: ServerAddress?
    /// The code to use; nil: the one remembered, or a new one.
    package var code: Code?
    /// Serve one guest, and end when it has left.
    package var isOnce = false
    /// The other side may hold the room as well: it is not reserved while the connection to the server is lost, and
    /// `run` ends with `roomOccupied` if it is taken meanwhile.
    package var sharesRoom = false
    /// The other side knows the code already: when it is spent it is not replaced, and `run` ends.
    package var keepsCode = false
    package var ice = ICEConfiguration()
    package var client = SignalClient()
    /// Seconds without a guest after which what is under way with it fails.
    package var timeout = Limits.Session.timeout
    /// Makes what serves one guest's requests for files; nil: there are none.
    package var makeResponder: (@Sendable (SessionPlace) -> any Responder)?
    /// Takes the channels that a guest opens (`Session.acceptChannels`); nil: there are none.
    package var onChannel: (@Sendable (SessionChannel, Session) -> Void)?

    /// A configuration with defaults.
    package init(directory: String? = nil, makeResponder: (@Sendable (SessionPlace) -> any Responder)? = nil) {
      self.directory = directory
      self.makeResponder = makeResponder
    }
  }

  /// Which session a responder is made for.
  package struct SessionPlace: Sendable {
    /// The session's name, 16 bytes.
    package let identity: [UInt8]
    /// Where a journal of it may lie, so that what its guest has open goes on when the export is started again; nil: the
    /// export is not remembered.
    package let journal: String?
  }

  /// What the user should hear about.
  package enum Event: Sendable {
    /// Guests can come, with this code. `isNew`: it takes the place of one that was spent.
    case ready(Code, isNew: Bool)
    case wrongCode(left: Int)
    /// After too many wrong ones `run` ends, since the code is not to be replaced.
    case codeSpent
    case arrived(Session, ConnectionPath?)
    case away
    case back(ConnectionPath?)
    case left
    case signalingLost(String)
    case signalingBack
  }

  private final class Guest {
    let session: Session
    let resumption: ResumptionSecret
    let credit: Int
    var room: Task<Void, Never>?
    var watch: Task<Void, Never>?
    /// Since when it is not connected; a guest that has not greeted yet is not.
    var awaySince: Instant? = Instant.now
    init(_ session: Session, _ resumption: ResumptionSecret, credit: Int) {
      self.session = session
      self.resumption = resumption
      self.credit = credit
    }
  }

  private let configuration: Configuration
  private let server: ServerAddress
  private let report: @Sendable (Event) -> Void
  private let log = Logger(label: "p2pfs.export")
  private let pool = WritePool()
  private let savePath: String?
  private let claim: StateDirectory.Claim?
  private var saved: SavedExport
  private var code: Code
  private var attempts: AttemptLimit
  private var guests: [[UInt8]: Guest] = [:]
  private var serving: Task<Void, Never>?
  private var hadGuest = false

  /// An export that is met at `server`. `report` is called from the host's tasks and must not block.
  package init(
    _ configuration: Configuration, server: ServerAddress, report: @escaping @Sendable (Event) -> Void
  ) {
    self.configuration = configuration
    self.server = server
    self.report = report
    let path = configuration.isOnce ? nil : configuration.directory.flatMap(SavedExport.path)
    // A second export of the same folder at the same time has a code and guests of its own.
    claim = path.flatMap(StateDirectory.claim)
    savePath = claim == nil ? nil : path
    let remembered = savePath.flatMap(StateDirectory.read).flatMap(SavedExport.init(parsing:))
    let code = configuration.code ?? remembered.flatMap { try? Code(parsing: $0.code) } ?? Code.random()
    var saved = remembered ?? SavedExport(code: code.text, token: RoomToken.random().bytes)
    if saved.code != code.text {
      saved.code = code.text
      saved.wrongAttempts = 0
    }
    self.code = code
    self.saved = saved
    attempts = AttemptLimit(left: max(0, AttemptLimit().left - saved.wrongAttempts))
  }

  /// The port that this export's own signaling server had last time; nil if there is none.
  package static func rememberedPort(of directory: String) -> Int? {
    SavedExport.path(for: directory).flatMap(StateDirectory.read).flatMap(SavedExport.init(parsing:))?.port
  }

  /// Remembers the port of this export's own signaling server.
  package func remember(port: Int) { saved.port = port }

  /// Serves until the task is cancelled, or, with `isOnce`, until the guest has left.
  /// - Throws: if the room cannot be had at first; later troubles are reported and overcome.
  package func run() async throws(SignalingError) {
    restoreGuests()
    let expiry = Task { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .seconds(60))
        await self?.dropExpired()
      }
    }
    defer { expiry.cancel() }
    var announced: Code?
    var backoff = Backoff()
    var isLost = false
    var credential: (code: Code, credential: Credential)?
    var occupied = 0
    while !Task.isCancelled, !(configuration.isOnce && hadGuest) {
      if attempts.isSpent {
        guard !configuration.keepsCode else { return report(.codeSpent) }
        renewCode()
      }
      let (code, token) = (code, RoomToken(bytes: saved.token) ?? RoomToken.random())
      if credential?.code != code {
        // scrypt takes its time: not on this actor.
        credential = (code, await Task.detached { Credential(code) }.value)
      }
      guard let credential = credential?.credential else { preconditionFailure("it was just made") }
      do throws(SignalingError) {
        let room = try await configuration.client.host(
          server, room: code.room, token: token, isTransient: configuration.sharesRoom)
        if isLost {
          isLost = false
          report(.signalingBack)
        }
        let since = Instant.now
        // What somebody was told must hold after a crash, too.
        save()
        if announced != code { report(.ready(code, isNew: announced != nil)) }
        announced = code
        let host = RoomHost(
          room, credential: credential, ice: configuration.ice,
          doorkeeper: CodeDoor(self, code: code, attempts: attempts),
          log: log)
        let serving = Task { await host.serve() }
        self.serving = serving
        await withTaskCancellationHandler {
          await serving.value
        } onCancel: {
          serving.cancel()
        }
        room.close()
        // A server that throws us out at once is not asked without a pause.
        if Instant.now.seconds(since: since) > Limits.Session.longestBackoff { backoff.reset() }
      } catch {
        if announced != code, configuration.code == nil, error == .roomOccupied, occupied < 8 {
          occupied += 1
          renewCode()
          continue
        }
        if announced == nil || configuration.sharesRoom && error == .roomOccupied { throw error }
        if !isLost {
          isLost = true
          report(.signalingLost("\(error)"))
        }
      }
      if !attempts.isSpent, !Task.isCancelled, !(configuration.isOnce && hadGuest) { await backoff.wait() }
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
    saved.code = code.text
    saved.wrongAttempts = 0
  }

  private func save() {
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
    guard guests.count >= Limits.Session.guests, guests.values.allSatisfy({ $0.session.isOnline }) else { return nil }
    return "it has \(Limits.Session.guests) guests, the most it takes"
  }

  func admit(_ met: Met) async {
    if let guest = guests[met.identity], guest.session.status == .over { forget(guest) }
    if let guest = guests[met.identity] {
      guest.session.connect(met.link)
      report(.back(await met.link.path()))
      return
    }
    if let why = refusal() {
      log.debug("a guest came too late: \(why)")
      met.link.close()
      return
    }
    if guests.count >= Limits.Session.guests,
      let longest = guests.filter({ !$0.value.session.isOnline })
        .min(by: { ($0.value.awaySince ?? Instant.now) < ($1.value.awaySince ?? Instant.now) })
    {
      longest.value.session.end()
      forget(longest.value)
    }
    hadGuest = true
    let guest = take(met.identity, met.resumption)
    if configuration.isOnce { serving?.cancel() }
    // Before it is served: should this process be killed, the next one knows the guest.
    save()
    guest.session.connect(met.link)
    report(.arrived(guest.session, await met.link.path()))
  }

  @discardableResult
  private func take(_ identity: [UInt8], _ resumption: ResumptionSecret) -> Guest {
    let credit = pool.grant()
    let session = Session(
      .init(identity: identity, timeout: configuration.timeout, grantedWriteCredit: credit),
      responder: configuration.makeResponder?(
        SessionPlace(identity: identity, journal: savePath.map { SavedExport.journal(of: identity, beside: $0) })),
      log: log)
    if let onChannel = configuration.onChannel {
      session.acceptChannels { [weak session] channel in if let session { onChannel(channel, session) } }
    }
    let guest = Guest(session, resumption, credit: credit)
    guests[identity] = guest
    // One reader, so that the changes come in their order.
    let states = session.states()
    guest.watch = Task { [weak self, weak session] in
      var wasOnline = false
      for await state in states {
        guard let self, let session else { return }
        await changed(session, state, wasOnline: wasOnline)
        if state == .online { wasOnline = true }
      }
    }
    SessionClock.start(session)
    guest.room = Task { [weak self] in await self?.holdRoom(resumption, of: session) }
    return guest
  }

  /// Holds the room where a guest that has lost its connection is met again.
  private func holdRoom(_ resumption: ResumptionSecret, of session: Session) async {
    let credential = Credential(resumption)
    let token = RoomToken(bytes: saved.token) ?? RoomToken.random()
    var backoff = Backoff()
    while !Task.isCancelled, session.status != .over {
      do {
        let room = try await configuration.client.host(server, room: resumption.room, token: token)
        backoff.reset()
        let door = KnownGuestDoor(self)
        await RoomHost(room, credential: credential, ice: configuration.ice, doorkeeper: door, log: log).serve()
        room.close()
      } catch {
        log.debug("cannot hold the room of a guest: \(error)")
      }
      if !Task.isCancelled { await backoff.wait() }
    }
  }

  private func changed(_ session: Session, _ state: SessionState, wasOnline: Bool) {
    guard let guest = guests[session.identity], guest.session === session else { return }
    switch state {
    case .online: guest.awaySince = nil
    case .offline:
      if guest.awaySince == nil { guest.awaySince = Instant.now }
      if wasOnline { report(.away) }
    case .expired: break
    case .over:
      forget(guest)
      save()
      report(.left)
    }
  }

  private func forget(_ guest: Guest) {
    guard guests[guest.session.identity] === guest else { return }
    guests[guest.session.identity] = nil
    guest.room?.cancel()
    pool.reclaim(guest.credit)
  }

  private func restoreGuests() {
    // Those of sessions that are not known any more are in nobody's way but the disk's.
    if let savePath { SavedExport.keepJournals(of: saved.guests.map(\.identity), beside: savePath) }
    for known in saved.guests.prefix(Limits.Session.guests) {
      guard let resumption = ResumptionSecret(bytes: known.resumption), guests[known.identity] == nil else { continue }
      take(known.identity, resumption)
    }
  }

  private func dropExpired() {
    let now = Instant.now
    for guest in Array(guests.values) where !guest.session.isOnline {
      guard let since = guest.awaySince, now.seconds(since: since) > Limits.Session.expiry else { continue }
      guest.session.end()
      forget(guest)
    }
    save()
  }
}

extension Share {
  /// What serves the guest of one session of an export; it outlives this process if the export is remembered.
  package func session(for place: HostPeer.SessionPlace) -> any Responder {
    guard let journal = place.journal else { return session() }
    return session(place.identity, journal: journal)
  }
}

import P2PFSCore
import P2PFSWire

/// Which connections a session has, and how it stands by them. A plain value without I/O and clock: it holds the links,
/// and calls nothing on them.
///
/// ```
///              connect              greeted                   connect
///  ┌─ away ───────────────▶ away + next ──────▶ connected ──────────────▶ connected + next ──┐
///  │   ▲ ▲                      │                 │  ▲ ▲                       │             │ greeted: the next
///  │   │ └──── lost: the next ──┘                 │  │ └─ lost: the next ──────┤             │ one takes the place
///  │   └──────────── lost ────────────────────────┘  └────────────────────────────────────────┘
///  └─ longer than the timeout: expired                        lost: away + next
///
///  any of them ── end ──▶ ended
/// ```
/// While the peer, whose program was started again, is being recovered (`restart`), it is connected but not online.
struct ConnectionPhase {
  /// A connection that the peer has not greeted on yet.
  private struct Greeting {
    let link: any Link
    /// Seconds that it has waited for the peer's hello.
    var waited = 0.0
    /// Channels that overtook the hello, on streams of their own.
    var channels: [any LinkChannel] = []
  }

  private enum Phase {
    /// There is no connection to use, and the peer was heard last `seconds` ago.
    case away(seconds: Double, isExpired: Bool, next: Greeting?)
    /// The peer has greeted on `link`, which `vigil` watches.
    case connected(any Link, vigil: Vigil, next: Greeting?)
    case ended
  }

  /// A duty that has come with time.
  enum Duty {
    case none
    /// Ask the peer for a sign of life.
    case ask(any Link)
    /// Close the connection, and report it as `lost`.
    case drop(any Link, reason: String)
    /// The session has expired: what waits for the peer fails.
    case expire
  }

  /// A connection was greeted on, and is in use.
  struct Greeted {
    /// The connection that was in use before: to be closed.
    let replaced: (any Link)?
    /// Channels that have come on this one already.
    let channels: [any LinkChannel]
    /// Whether the peer's program was started since it greeted last.
    let isNewPeer: Bool
  }

  /// What was lost.
  enum Loss {
    /// A connection that was replaced before.
    case nothing
    case next
    case inUse
  }

  /// Seconds without the peer after which the session expires.
  private let timeout: Double
  /// Seconds of silence after which a connection is given up: fewer if the peer may not be away for that long.
  private let vanished: Double
  private var phase = Phase.away(seconds: 0, isExpired: false, next: nil)
  /// How many connections were greeted on: the number of the one in use, or of the last one.
  private(set) var connections: UInt64 = 0
  /// The peer's last hello.
  private(set) var peer: Hello?
  /// How the peer's program was started again, until it is recovered.
  private(set) var restart: PeerRestart?

  /// No connection yet. `timeout`: seconds without the peer after which the session expires.
  init(timeout: Double) {
    self.timeout = timeout
    vanished = min(Limits.Session.vanished, max(Limits.Session.leastVanished, timeout))
  }

  // MARK: - How it stands

  var status: SessionState {
    switch phase {
    case .away(_, let isExpired, _): isExpired ? .expired : .offline
    case .connected: restart == nil ? .online : .offline
    case .ended: .over
    }
  }

  /// Whether requests are sent, or wait for a connection; else they fail.
  var takesRequests: Bool { status == .online || status == .offline }

  /// The connection in use: the peer has greeted on it.
  var link: (any Link)? {
    if case .connected(let link, _, _) = phase { link } else { nil }
  }

  /// The connection in use, if requests may be sent on it.
  var onlineLink: (any Link)? { restart == nil ? link : nil }

  /// The connection that the peer has not greeted on yet.
  var next: (any Link)? { greeting?.link }

  /// Both of them.
  var links: [any Link] { [link, next].compactMap { $0 } }

  /// Whether another connection is wanted: there is none, or the one in use may not carry anything any more.
  var needsConnection: Bool {
    switch phase {
    case .away: true
    case .connected(_, let vigil, _): vigil.isDoubted
    case .ended: false
    }
  }

  /// Seconds until time is to be counted again.
  var interval: Double {
    if case .connected(_, let vigil, _) = phase, vigil.isAlert { Limits.Session.shortTick } else { Limits.Session.tick }
  }

  // MARK: - Connections

  /// Takes a new connection, to be greeted on.
  /// - Returns: the connection to close: the one that was to be greeted on before, or this one if the session has
  ///   ended.
  mutating func connect(_ new: any Link) -> (isTaken: Bool, toClose: (any Link)?) {
    if case .ended = phase { return (false, new) }
    defer { greeting = Greeting(link: new) }
    return (true, next)
  }

  /// Keeps a channel that has overtaken the peer's hello; false if the connection is not one to be greeted on.
  mutating func keep(_ channel: any LinkChannel, of link: any Link) -> Bool {
    guard var greeting, greeting.link === link else { return false }
    if greeting.channels.count < Limits.Transport.channels { greeting.channels.append(channel) }
    self.greeting = greeting
    return true
  }

  /// The peer has greeted.
  /// - Returns: nil if the connection was replaced before.
  mutating func greeted(_ hello: Hello, on link: any Link) throws(MalformedMessage) -> Greeted? {
    guard self.link !== link else { throw MalformedMessage("a second hello") }
    guard let greeting, greeting.link === link else { return nil }
    let replaced = self.link
    var isNewPeer = false
    if let known = peer, known.instance != hello.instance {
      isNewPeer = true
      restart = PeerRestart(
        remembers: hello.flags.contains(.remembers),
        isOtherMachine: known.machine != hello.machine || restart?.isOtherMachine ?? false)
    }
    peer = hello
    connections += 1
    phase = .connected(link, vigil: Vigil(), next: nil)
    return Greeted(replaced: replaced, channels: greeting.channels, isNewPeer: isNewPeer)
  }

  /// The peer's program, which was started again, is recovered.
  mutating func recovered() { restart = nil }

  /// A connection is gone. The recovery that was under way on it begins anew on the next one.
  mutating func lost(_ link: any Link) -> Loss {
    if next === link {
      greeting = nil
      return .next
    }
    guard case .connected(let inUse, let vigil, let next) = phase, inUse === link else { return .nothing }
    phase = .away(seconds: vigil.silence, isExpired: false, next: next)
    return .inUse
  }

  /// Ends it. Returns the connections to close; nil if it has ended before.
  mutating func end() -> [any Link]? {
    if case .ended = phase { return nil }
    defer { phase = .ended }
    return links
  }

  // MARK: - Time

  /// Counts a step in seconds. The rest is about the connection in use, if there is one: see `Vigil.count`.
  mutating func count(
    _ step: Double, heard: Instant, isBusy: Bool, isFailing: Bool, roundTrip: Double, now: Instant
  ) -> Duty {
    // A peer that connects and never greets is as good as away.
    greeting?.waited += step
    if let greeting, greeting.waited >= Limits.Session.greeting {
      return .drop(greeting.link, reason: "no greeting for \(Limits.Session.greeting) s")
    }
    switch phase {
    case .ended: return .none
    case .away(let seconds, let wasExpired, let next):
      let isExpired = wasExpired || seconds + step >= timeout
      phase = .away(seconds: seconds + step, isExpired: isExpired, next: next)
      return isExpired && !wasExpired ? .expire : .none
    case .connected(let link, var vigil, let next):
      let advice = vigil.count(
        step, heard: heard, isBusy: isBusy || restart != nil, isFailing: isFailing, roundTrip: roundTrip,
        vanished: vanished, now: now)
      phase = .connected(link, vigil: vigil, next: next)
      switch advice {
      case .none: return .none
      case .ask: return .ask(link)
      case .giveUp: return .drop(link, reason: "no sign of life for \(vanished) s")
      }
    }
  }

  /// The network has changed: the connection in use, if there is one, is to be asked for a sign of life.
  mutating func networkChanged(at now: Instant) -> (any Link)? {
    guard case .connected(let link, var vigil, let next) = phase else { return nil }
    _ = vigil.networkChanged(at: now)
    phase = .connected(link, vigil: vigil, next: next)
    return link
  }

  /// The time for an answer since the network changed is over.
  mutating func answerIsOverdue(on asked: any Link) {
    guard case .connected(let link, var vigil, let next) = phase, link === asked else { return }
    vigil.answerIsOverdue()
    phase = .connected(link, vigil: vigil, next: next)
  }

  /// The answer to a question asked at `time` has come.
  /// - Returns: whether it says how long a round trip takes. An answer that ends a doubt has waited for a path to
  ///   come back.
  mutating func answered(askedAt time: Instant, on asked: any Link) -> Bool {
    guard case .connected(let link, var vigil, let next) = phase, link === asked else { return false }
    let wasDoubted = vigil.isDoubted
    vigil.answered(askedAt: time)
    phase = .connected(link, vigil: vigil, next: next)
    return !wasDoubted
  }

  // MARK: - Inside

  private var greeting: Greeting? {
    get {
      switch phase {
      case .away(_, _, let next), .connected(_, _, let next): next
      case .ended: nil
      }
    }
    set {
      switch phase {
      case .away(let seconds, let isExpired, _): phase = .away(seconds: seconds, isExpired: isExpired, next: newValue)
      case .connected(let link, let vigil, _): phase = .connected(link, vigil: vigil, next: newValue)
      case .ended: break
      }
    }
  }
}

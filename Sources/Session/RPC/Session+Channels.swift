import P2PFSCore
import Synchronization
import P2PFSWire

/// The channels of a session: a name for each, and what happens to them when connections come and go.
struct ChannelTable {
  /// Which of the two sides opened it, and its number there.
  struct Key: Hashable {
    let isOurs: Bool
    let number: UInt64
  }

  var open: [Key: SessionChannel] = [:]
  var nextNumber: UInt64 = 1
  /// The numbers that the peer has used, which are not used again: all up to `used`, and these. They arrive out of
  /// order, each on a stream of its own. Some never arrive: those of channels that were given up before their opening
  /// message was sent, or opened to an earlier program of this side.
  private var used: UInt64 = 0
  private var usedAbove: Set<UInt64> = []
  /// The handler of channels that the peer opens.
  var acceptor: (@Sendable (SessionChannel) -> Void)?

  var ofPeer: Int { open.keys.count { !$0.isOurs } }

  /// Registers a number of the peer.
  /// - Returns: false if it was used before, or is so far behind the newest ones that it counts as used.
  mutating func use(_ number: UInt64) -> Bool {
    guard number > used, usedAbove.insert(number).inserted else { return false }
    if usedAbove.count > Limits.Channel.numbers, let oldest = usedAbove.min() { used = oldest - 1 }
    while usedAbove.remove(used + 1) != nil { used += 1 }
    return true
  }

  /// The peer was started again.
  mutating func forgetPeer() -> [SessionChannel] {
    defer { (open, used, usedAbove) = ([:], 0, []) }
    return Array(open.values)
  }
}

extension Session {
  /// Sets the handler of channels that the peer opens. It is called on the link's thread with each new one, and has to
  /// accept (`SessionChannel.accept`) or reset it, then or later. Without a handler all are refused. To be set before
  /// `connect`.
  package func acceptChannels(_ body: @escaping @Sendable (SessionChannel) -> Void) {
    state.withLock { $0.channels.acceptor = body }
  }

  /// Opens a channel to the peer's program. Data that is sent before the peer has accepted waits on both sides, within
  /// the first window. From any thread; never blocks.
  /// - Parameters:
  ///   - name: at most `Limits.Channel.name` bytes of UTF-8.
  ///   - keepsMessages: whether the borders of what is sent matter.
  package func openChannel(_ name: String, keepsMessages: Bool = false) throws(SessionChannelError) -> SessionChannel {
    guard name.utf8.count <= Limits.Channel.name else { throw .unavailable("the name of the channel is too long") }
    let result = state.withLock { state -> Result<(SessionChannel, (any Link)?, UInt64), SessionChannelError> in
      guard state.phase.takesRequests else { return .failure(.peerGone) }
      if let peer = state.phase.peer, !peer.features.contains(.channels) {
        return .failure(.unavailable("the other computer's p2pfs is too old for this"))
      }
      guard state.channels.open.count - state.channels.ofPeer < Limits.Channel.open else {
        return .failure(.unavailable("more than \(Limits.Channel.open) channels at once"))
      }
      let key = ChannelTable.Key(isOurs: true, number: state.channels.nextNumber)
      state.channels.nextNumber += 1
      let channel = makeChannel(name, key, keepsMessages: keepsMessages)
      state.channels.open[key] = channel
      return .success((channel, state.phase.onlineLink, state.phase.connections))
    }
    let (channel, link, connection) = try result.get()
    if let link { carry(channel, by: link, connection) }
    return channel
  }

  /// The channels of both sides that are not over.
  package var openChannels: [SessionChannel] { state.withLock { Array($0.channels.open.values) } }

  private func makeChannel(_ name: String, _ key: ChannelTable.Key, keepsMessages: Bool) -> SessionChannel {
    let core = ChannelState(
      number: key.number, isOurs: key.isOurs, keepsMessages: keepsMessages, sendPool: sendPool,
      receivePool: receivePool)
    return SessionChannel(name: name, core: core) { [weak self] channel in
      self?.state.withLock { state in
        let key = ChannelTable.Key(isOurs: channel.isOurs, number: channel.number)
        if state.channels.open[key] === channel { state.channels.open[key] = nil }
      }
    }
  }

  /// Opens a data channel for `channel` on a connection.
  private func carry(_ channel: SessionChannel, by link: any Link, _ connection: UInt64) {
    link.openChannel(channel.name) { [weak self, weak link] opened in
      guard let self, let link else {
        opened?.close()
        return
      }
      guard let opened else {
        // Lost with the connection, or there are too many: if the connection stays, it will never be had.
        if state.withLock({ $0.phase.onlineLink === link }) {
          channel.fail(.unavailable("no data channel could be opened"))
        }
        return
      }
      channel.connect(opened, connection: connection)
      attach(channel, to: opened, of: link)
    }
  }

  private func attach(_ channel: SessionChannel, to linkChannel: any LinkChannel, of link: any Link) {
    // Weakly: the data channel holds these, and the channel holds the data channel.
    linkChannel.attach(
      onMessage: { [weak self, weak channel, weak linkChannel, weak link] frame in
        guard let self, let channel, let linkChannel, let link else { return }
        hear(frame, for: channel, on: linkChannel, of: link)
      },
      onClose: { [weak channel, weak linkChannel] byPeer in
        if let linkChannel { channel?.closed(linkChannel, byPeer: byPeer) }
      })
  }

  private func hear(_ frame: Frame, for channel: SessionChannel, on linkChannel: any LinkChannel, of link: any Link) {
    do {
      // As for the RPC: credits that the peer does not read must not fill the memory.
      guard readsReplies(link) else { throw MalformedMessage("it reads no replies") }
      isStirred.store(true, ordering: .relaxed)
      try channel.received(ChannelMessage(parsing: frame), from: linkChannel)
    } catch {
      violated("\(error)", on: link)
    }
  }

  // MARK: - Events of the session

  /// The peer has greeted on a new connection: our channels are opened on it, those of the peer are awaited.
  func carryChannels(by link: any Link) {
    let (channels, connection) = state.withLock { state in
      (state.phase.link === link ? Array(state.channels.open.values) : [], state.phase.connections)
    }
    // In the order in which they were opened: all that follows is the same each time.
    let ours = channels.filter(\.isOurs).sorted { $0.number < $1.number }
    for channel in ours { carry(channel, by: link, connection) }
  }

  /// Counts time on a connection that the peer has greeted on: see `SessionChannel.count`.
  func countChannels(_ seconds: Double) {
    let channels = state.withLock { $0.phase.status == .online ? Array($0.channels.open.values) : [] }
    for channel in channels { channel.count(seconds) }
  }

  /// Ends all channels, on this side.
  func failChannels() {
    let channels = state.withLock { Array($0.channels.open.values) }
    for channel in channels { channel.fail(.peerGone) }
  }

  /// The peer has opened a data channel: its first message tells which channel it carries.
  func opened(_ linkChannel: any LinkChannel, on link: any Link) {
    // It may have overtaken the peer's hello, on a stream of its own.
    let isEarly = state.withLock { $0.phase.keep(linkChannel, of: link) }
    guard !isEarly else { return }
    enum Carried {
      case nothingYet
      case channel(SessionChannel)
      /// Refused: messages that the peer has sent before it knows are dropped.
      case turnedAway
    }
    let carried = Mutex(Carried.nothingYet)
    linkChannel.attach(
      onMessage: { [weak self, weak link, weak linkChannel] frame in
        guard let self, let link, let linkChannel else { return }
        switch carried.withLock({ $0 }) {
        case .turnedAway: return
        case .channel(let channel): return hear(frame, for: channel, on: linkChannel, of: link)
        case .nothingYet: break
        }
        do {
          let open: ChannelMessage.Open
          switch try ChannelMessage(parsing: frame) {
          case .open(let first): open = first
          // Given up before the opening message was sent.
          case .reset: return carried.withLock { $0 = .turnedAway }
          default: throw MalformedMessage("a channel without an opening message")
          }
          let channel = bind(open, linkChannel, link)
          carried.withLock { $0 = channel.map { .channel($0) } ?? .turnedAway }
          if let channel { hear(frame, for: channel, on: linkChannel, of: link) }
        } catch {
          carried.withLock { $0 = .turnedAway }
          violated("\(error)", on: link)
        }
      },
      onClose: { [weak linkChannel] byPeer in
        guard let linkChannel, case .channel(let channel) = carried.withLock({ $0 }) else { return }
        channel.closed(linkChannel, byPeer: byPeer)
      })
  }

  /// Finds or makes the channel that an opening message names, and has the data channel carry it.
  /// - Returns: nil if it was refused: there is no such channel any more, or there are too many.
  private func bind(_ open: ChannelMessage.Open, _ linkChannel: any LinkChannel, _ link: any Link) -> SessionChannel? {
    enum Found {
      case channel(SessionChannel, isNew: Bool)
      case refused(ChannelMessage.ResetCode, String)
      /// The connection is not the one in use, on which the peer opens it again.
      case late
    }
    typealias Outcome = (found: Found, connection: UInt64, acceptor: @Sendable (SessionChannel) -> Void)
    let outcome = state.withLock { state -> Outcome in
      func outcome(_ found: Found) -> Outcome {
        (found, state.phase.connections, state.channels.acceptor ?? Session.refuse)
      }
      guard state.phase.link === link else { return outcome(.late) }
      let key = ChannelTable.Key(isOurs: false, number: open.number)
      if let channel = state.channels.open[key] { return outcome(.channel(channel, isNew: false)) }
      guard linkChannel.label.utf8.count <= Limits.Channel.name else {
        return outcome(.refused(.refused, "the name of the channel is too long"))
      }
      // An honest peer may come here, too: channels that it has given up count until we receive the reset.
      guard state.channels.ofPeer < Limits.Channel.accepted else {
        return outcome(.refused(.refused, "too many channels at once"))
      }
      guard !open.isKnown, state.channels.use(open.number) else { return outcome(.refused(.lost, "")) }
      let channel = makeChannel(linkChannel.label, key, keepsMessages: open.keepsMessages)
      state.channels.open[key] = channel
      return outcome(.channel(channel, isNew: true))
    }
    switch outcome.found {
    case .late: return nil
    case .refused(let code, let why):
      linkChannel.abort(ChannelMessage.reset(code, why).frame)
      return nil
    case .channel(let channel, let isNew):
      channel.connect(linkChannel, connection: outcome.connection)
      if isNew { outcome.acceptor(channel) }
      return channel
    }
  }

  private static func refuse(_ channel: SessionChannel) { channel.reset(.refused, "this program accepts no channels") }
}

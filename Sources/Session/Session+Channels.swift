import Core
import Synchronization
import Wire

/// The channels of a session: a name for each, and what happens to them when connections come and go.
struct ChannelTable {
  /// Which of the two sides opened it, and its number there.
  struct Key: Hashable {
    let isOurs: Bool
    let number: UInt64
  }

  var open: [Key: Channel] = [:]
  var nextNumber: UInt64 = 1
  /// The numbers that the peer has used, which do not come again: all up to `used`, and these. They come out of
  /// order, since each comes by a stream of its own.
  private var used: UInt64 = 0
  private var usedAbove: Set<UInt64> = []
  /// Who takes what the peer opens.
  var acceptor: (@Sendable (Channel) -> Void)?

  var ofPeer: Int { open.keys.count { !$0.isOurs } }

  /// Takes note of a number of the peer.
  /// - Returns: false if it was used before.
  mutating func use(_ number: UInt64) throws(MalformedMessage) -> Bool {
    guard number > used, usedAbove.insert(number).inserted else { return false }
    while usedAbove.remove(used + 1) != nil { used += 1 }
    guard usedAbove.count <= Limits.Channel.open * 2 else { throw MalformedMessage("numbers of channels left out") }
    return true
  }

  /// The peer was started again.
  mutating func forgetPeer() -> [Channel] {
    defer { (open, used, usedAbove) = ([:], 0, []) }
    return Array(open.values)
  }
}

extension Session {
  /// Says who takes the channels that the peer opens: called on the link's thread with each new one, which is to be
  /// accepted (`Channel.accept`) or reset, then or later. Without it all are refused. To be set before `connect`.
  package func acceptChannels(_ body: @escaping @Sendable (Channel) -> Void) {
    state.withLock { $0.channels.acceptor = body }
  }

  /// Opens a channel to the peer's program. What is sent on it before the peer has accepted waits there, and here, within
  /// the first window. From any thread; never blocks.
  /// - Parameters:
  ///   - name: at most `Limits.Channel.name` bytes of UTF-8.
  ///   - keepsMessages: whether the borders of what is sent matter.
  package func openChannel(_ name: String, keepsMessages: Bool = false) throws(ChannelError) -> Channel {
    guard name.utf8.count <= Limits.Channel.name else { throw .unavailable("the name of the channel is too long") }
    let result = state.withLock { state -> Result<(Channel, (any Link)?, UInt64), ChannelError> in
      guard state.status == .online || state.status == .offline else { return .failure(.peerGone) }
      if let peer = state.peer, !peer.features.contains(.channels) {
        return .failure(.unavailable("the other computer's p2pfs is too old for this"))
      }
      guard state.channels.open.count - state.channels.ofPeer < Limits.Channel.open else {
        return .failure(.unavailable("more than \(Limits.Channel.open) channels at once"))
      }
      let key = ChannelTable.Key(isOurs: true, number: state.channels.nextNumber)
      state.channels.nextNumber += 1
      let channel = makeChannel(name, key, keepsMessages: keepsMessages, isKnown: false)
      state.channels.open[key] = channel
      return .success((channel, state.status == .online ? state.link : nil, state.connection))
    }
    let (channel, link, connection) = try result.get()
    if let link { carry(channel, by: link, connection) }
    return channel
  }

  /// The channels of both sides that are not over.
  package var openChannels: [Channel] { state.withLock { Array($0.channels.open.values) } }

  private func makeChannel(_ name: String, _ key: ChannelTable.Key, keepsMessages: Bool, isKnown: Bool) -> Channel {
    let core = ChannelState(
      number: key.number, keepsMessages: keepsMessages, isKnownToPeer: isKnown, sendPool: sendPool,
      receivePool: receivePool)
    return Channel(name: name, isOurs: key.isOurs, core: core) { [weak self] channel in
      self?.state.withLock { state in
        let key = ChannelTable.Key(isOurs: channel.isOurs, number: channel.number)
        if state.channels.open[key] === channel { state.channels.open[key] = nil }
      }
    }
  }

  /// Opens a data channel for `channel` on a connection.
  private func carry(_ channel: Channel, by link: any Link, _ connection: UInt64) {
    link.openChannel(channel.name) { [weak self, weak link] opened in
      guard let self, let link else {
        opened?.close()
        return
      }
      guard let opened else {
        // Lost with the connection, or there are too many: if the connection stays, it will never be had.
        if state.withLock({ $0.link === link && $0.status == .online }) {
          channel.fail(.unavailable("no data channel could be opened"))
        }
        return
      }
      channel.connect(opened, connection: connection)
      attach(channel, to: opened, of: link)
    }
  }

  private func attach(_ channel: Channel, to linkChannel: any LinkChannel, of link: any Link) {
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

  private func hear(_ frame: Frame, for channel: Channel, on linkChannel: any LinkChannel, of link: any Link) {
    do {
      // As for the RPC: answers to what the peer says must not fill the memory.
      guard link.backlog <= Limits.Session.undrained else { throw MalformedMessage("it does not take its answers") }
      try channel.received(ChannelMessage(parsing: frame), from: linkChannel)
    } catch {
      violated("\(error)", on: link)
    }
  }

  // MARK: - What the session tells

  /// The peer has greeted on a new connection: our channels are opened on it, those of the peer are awaited.
  func carryChannels(by link: any Link) {
    let (channels, connection) = state.withLock { state in
      (state.link === link ? Array(state.channels.open.values) : [], state.connection)
    }
    for channel in channels where channel.isOurs { carry(channel, by: link, connection) }
    let awaited = channels.filter { !$0.isOurs }
    guard !awaited.isEmpty else { return }
    Task { [weak self] in
      try? await Task.sleep(for: .seconds(Limits.Channel.reopening))
      guard let self, state.withLock({ $0.link === link }) else { return }
      // Reset by the peer while there was no connection to say so.
      for channel in awaited where !channel.isConnected { channel.fail(.reset(.lost, "")) }
    }
  }

  /// Ends all channels, on this side.
  func failChannels() {
    let channels = state.withLock { Array($0.channels.open.values) }
    for channel in channels { channel.fail(.peerGone) }
  }

  /// The peer has opened a data channel: its first message says what it carries.
  func opened(_ linkChannel: any LinkChannel, on link: any Link) {
    let found = Mutex<Channel?>(nil)
    linkChannel.attach(
      onMessage: { [weak self, weak link, weak linkChannel] frame in
        guard let self, let link, let linkChannel else { return }
        if let channel = found.withLock({ $0 }) { return hear(frame, for: channel, on: linkChannel, of: link) }
        do {
          guard case .open(let open) = try ChannelMessage(parsing: frame) else {
            throw MalformedMessage("a channel that begins with something else")
          }
          guard let channel = try bind(open, linkChannel, link) else { return }
          found.withLock { $0 = channel }
          hear(frame, for: channel, on: linkChannel, of: link)
        } catch {
          violated("\(error)", on: link)
        }
      },
      onClose: { [weak linkChannel] byPeer in
        if let linkChannel { found.withLock { $0 }?.closed(linkChannel, byPeer: byPeer) }
      })
  }

  /// Finds or makes the channel that the peer speaks of, and has the data channel carry it.
  /// - Returns: nil if there is no such channel any more, or the connection is not the present one.
  private func bind(
    _ open: ChannelMessage.Open, _ linkChannel: any LinkChannel, _ link: any Link
  ) throws(MalformedMessage) -> Channel? {
    let key = ChannelTable.Key(isOurs: false, number: open.number)
    typealias Found = (channel: Channel?, connection: UInt64, acceptor: (@Sendable (Channel) -> Void)?)
    let (channel, connection, acceptor) = try state.withLock { state throws(MalformedMessage) -> Found in
      guard state.link === link else { return (nil, 0, nil) }
      if let channel = state.channels.open[key] { return (channel, state.connection, nil) }
      guard !open.isKnown, try state.channels.use(open.number) else { return (nil, state.connection, nil) }
      guard linkChannel.label.utf8.count <= Limits.Channel.name, state.channels.ofPeer < Limits.Channel.open else {
        throw MalformedMessage("a channel too many, or of too long a name")
      }
      let channel = makeChannel(linkChannel.label, key, keepsMessages: open.keepsMessages, isKnown: true)
      state.channels.open[key] = channel
      return (channel, state.connection, state.channels.acceptor ?? Session.refuse)
    }
    guard let channel else {
      linkChannel.send(ChannelMessage.reset(.lost, "").frame)
      linkChannel.close()
      return nil
    }
    channel.connect(linkChannel, connection: connection)
    acceptor?(channel)
    return channel
  }

  private static func refuse(_ channel: Channel) { channel.reset(.refused, "it takes no channels") }
}

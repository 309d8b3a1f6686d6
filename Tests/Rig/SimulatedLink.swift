import DequeModule
package import P2PFSCore
package import P2PFSSession

/// A link over a simulated network. Below its messages stands the least that can take the place of SCTP: datagrams that
/// are numbered on each stream, acknowledged, sent again when no acknowledgement comes, and put in order.
package final class SimulatedLink: Link, @unchecked Sendable {
  // Used by one thread, as its network is.

  /// Seconds without an acknowledgement after which a datagram is sent again, how often that may be, datagrams of a stream
  /// that may be under way, and the bytes that stand in front of the contents of each.
  private static let patience = 0.2
  private static let tries = 60
  private static let window = 64
  private static let header = 28

  /// What a datagram carries.
  private struct Piece {
    /// Bytes on the wire.
    var count: Int
    /// The message that ends with it.
    var message: Frame?
    /// Whether the stream ends with it.
    var isEnd = false
  }

  /// One direction of a lane or of a channel.
  private struct Outgoing {
    /// What has not been acknowledged, by number, and what has not left yet.
    var unacknowledged: [UInt64: Piece] = [:]
    var waiting = Deque<Piece>()
    var next: UInt64 = 0
  }
  private struct Incoming {
    var expected: UInt64 = 0
    var early: [UInt64: Piece] = [:]
  }

  private let network: SimulatedNetwork
  private let side: SimulatedNetwork.Side
  private weak var peer: SimulatedLink?
  private var receiver: (any LinkReceiver)?
  private var isOver = false
  private var outgoing: [Int: Outgoing] = [:]
  private var incoming: [Int: Incoming] = [:]
  /// What came before somebody was named to hear it.
  private var unheard: [(stream: Int, Frame)] = []
  private var channels: [Int: SimulatedChannel] = [:]
  private var nextChannel: Int
  package private(set) var backlog = 0
  private var wasFull = false
  package private(set) var lastHeard: Instant
  package var isFailing = false

  private init(_ network: SimulatedNetwork, _ side: SimulatedNetwork.Side) {
    (self.network, self.side, lastHeard) = (network, side, network.now)
    // The lanes are streams 0 and 1; each side opens channels with numbers of its own.
    nextChannel = 2 + side.rawValue
  }

  /// Two connected links. Keep both alive: they know each other weakly.
  package static func pair(_ network: SimulatedNetwork) -> (SimulatedLink, SimulatedLink) {
    let (one, other) = (SimulatedLink(network, .one), SimulatedLink(network, .other))
    (one.peer, other.peer) = (other, one)
    return (one, other)
  }

  // MARK: - What the session asks for

  package func send(_ frame: Frame, on lane: Lane) { send(frame, stream: Int(lane.rawValue)) }

  package func attach(_ receiver: any LinkReceiver) {
    self.receiver = receiver
    network.after(0) { [self] in
      let early = unheard
      unheard = []
      for (stream, frame) in early { hear(frame, stream) }
    }
  }

  package func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) {
    network.after(0) { [self] in
      guard !isOver else { return opened(nil) }
      let channel = SimulatedChannel(label, nextChannel, self)
      nextChannel += 2
      channels[channel.stream] = channel
      // Its first message tells the peer of it, as that of DCEP does.
      send(Frame(copying: Array(label.utf8)), stream: channel.stream)
      opened(channel)
    }
  }

  package func close() {
    guard !isOver else { return }
    end()
    // Best effort, as that of DTLS.
    network.send(60, from: side) { [weak peer] in peer?.fail() }
  }

  package func closed() async { close() }

  /// It breaks on this side, which is told, and not the other.
  package func fail() {
    guard !isOver else { return }
    let receiver = receiver
    let channels = channels.sorted { $0.key < $1.key }
    end()
    for (_, channel) in channels { channel.end(byPeer: false) }
    receiver?.lost()
  }

  private func end() {
    isOver = true
    receiver = nil
    (outgoing, incoming, channels, unheard) = ([:], [:], [:], [])
  }

  // MARK: - Streams

  fileprivate func send(_ frame: Frame, stream: Int) {
    guard !isOver else { return }
    backlog += frame.count
    var state = outgoing[stream, default: Outgoing()]
    let piece = network.paths[side.rawValue].mtu - SimulatedLink.header
    // A copy of the frame travels, as its bytes do: who sends it again may have numbered it anew.
    let message = Frame(copying: frame.bytes)
    for start in stride(from: 0, to: max(frame.count, 1), by: piece) {
      let isLast = start + piece >= frame.count
      let count = min(piece, frame.count - start) + SimulatedLink.header
      state.waiting.append(Piece(count: count, message: isLast ? message : nil))
    }
    outgoing[stream] = state
    push(stream)
  }

  private func push(_ stream: Int) {
    while var state = outgoing[stream], state.unacknowledged.count < SimulatedLink.window, !state.waiting.isEmpty {
      let number = state.next
      state.next += 1
      state.unacknowledged[number] = state.waiting.removeFirst()
      outgoing[stream] = state
      transmit(stream, number, tries: 0)
    }
  }

  private func transmit(_ stream: Int, _ number: UInt64, tries: Int) {
    guard !isOver, let piece = outgoing[stream]?.unacknowledged[number] else { return }
    guard tries < SimulatedLink.tries else { return fail() }
    network.send(piece.count, from: side) { [weak peer] in peer?.arrived(stream, number, piece) }
    network.after(SimulatedLink.patience) { [weak self] in self?.transmit(stream, number, tries: tries + 1) }
  }

  private func arrived(_ stream: Int, _ number: UInt64, _ piece: Piece) {
    guard !isOver else { return }
    lastHeard = network.now
    network.send(SimulatedLink.header, from: side) { [weak peer] in peer?.acknowledged(stream, number) }
    var state = incoming[stream, default: Incoming()]
    guard number >= state.expected else { return }
    state.early[number] = piece
    var pieces: [Piece] = []
    while let next = state.early.removeValue(forKey: state.expected) {
      state.expected += 1
      pieces.append(next)
    }
    incoming[stream] = state
    for piece in pieces where !isOver {
      if let message = piece.message { hear(message, stream) }
      if piece.isEnd { channels.removeValue(forKey: stream)?.end(byPeer: true) }
    }
  }

  private func acknowledged(_ stream: Int, _ number: UInt64) {
    guard !isOver else { return }
    lastHeard = network.now
    guard let piece = outgoing[stream]?.unacknowledged.removeValue(forKey: number) else { return }
    backlog -= piece.message?.count ?? 0
    push(stream)
    guard let receiver else { return }
    if backlog >= receiver.drainMark {
      wasFull = true
    } else if wasFull {
      wasFull = false
      receiver.drained()
    }
  }

  private func hear(_ frame: Frame, _ stream: Int) {
    guard let receiver else { return unheard.append((stream, frame)) }
    if let lane = Lane(rawValue: UInt8(stream)) { return receiver.received(frame, on: lane) }
    if let channel = channels[stream] { return channel.hear(frame) }
    let channel = SimulatedChannel(String(decoding: frame.bytes, as: UTF8.self), stream, self)
    channels[stream] = channel
    receiver.opened(channel)
  }

  /// A channel is closed on this side: the peer hears of it behind what was sent, if the link lasts.
  fileprivate func close(_ channel: SimulatedChannel) {
    guard channels.removeValue(forKey: channel.stream) != nil else { return }
    channel.end(byPeer: false)
    outgoing[channel.stream]?.waiting.append(Piece(count: SimulatedLink.header, isEnd: true))
    push(channel.stream)
  }

  fileprivate func queued(on stream: Int) -> Int {
    guard let state = outgoing[stream] else { return 0 }
    return state.unacknowledged.values.reduce(0) { $0 + $1.count } + state.waiting.reduce(0) { $0 + $1.count }
  }
  fileprivate func later(_ body: @escaping () -> Void) { network.after(0, body) }
}

/// One end of a channel beside the lanes of a simulated link.
package final class SimulatedChannel: LinkChannel, @unchecked Sendable {
  package let label: String
  fileprivate let stream: Int
  private weak var link: SimulatedLink?
  private var onMessage: (@Sendable (Frame) -> Void)?
  private var onClose: (@Sendable (Bool) -> Void)?
  private var early: [Frame] = []

  fileprivate init(_ label: String, _ stream: Int, _ link: SimulatedLink) {
    (self.label, self.stream, self.link) = (label, stream, link)
  }

  package var queuedBytes: Int { link?.queued(on: stream) ?? 0 }
  package func send(_ frame: Frame) { link?.send(frame, stream: stream) }
  package func close() { link?.later { [self] in link?.close(self) } }
  package func abort(_ last: Frame) {
    send(last)
    close()
  }

  package func attach(
    onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (_ byPeer: Bool) -> Void
  ) {
    (self.onMessage, self.onClose) = (onMessage, onClose)
    link?.later { [self] in
      defer { early = [] }
      for frame in early { onMessage(frame) }
    }
  }

  fileprivate func hear(_ frame: Frame) {
    if let onMessage, early.isEmpty { onMessage(frame) } else { early.append(frame) }
  }

  fileprivate func end(byPeer: Bool) {
    let onClose = onClose
    (self.onMessage, self.onClose) = (nil, nil)
    onClose?(byPeer)
  }
}

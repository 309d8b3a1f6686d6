import P2PFSCore
import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOWebSocket

/// The moving part of a server: its connections, rooms and addresses.
///
/// `@unchecked Sendable` because everything in it belongs to the server's one event loop: NIO's closures demand
/// Sendable, and every method runs on that loop.
final class Relay: @unchecked Sendable {
  /// A connection from its acceptance to its end.
  final class Connection {
    let id: ConnectionID
    let channel: any Channel
    var address: AddressKey
    var isCounted = false
    var refusal: JoinRefusal?
    var join: Join?
    var advertised: String?
    /// When something last came from it; before the upgrade, when it was accepted.
    var heard: Instant
    var isUpgraded = false
    /// When the server began to close it.
    var closing: Instant?
    var isClean = false
    var messages: TokenBucket
    var bytes: TokenBucket
    /// Bytes of this guest's that wait for its host.
    var waiting = 0
    var isHost: Bool { if case .host = join?.role { true } else { false } }

    init(id: ConnectionID, channel: any Channel, bounds: SignalBounds, now: Instant) {
      self.id = id
      self.channel = channel
      address = AddressKey(channel.remoteAddress)
      heard = now
      messages = TokenBucket(rate: Limits.Signaling.messageRate, burst: bounds.messageBurst, now: now)
      bytes = TokenBucket(rate: Limits.Signaling.byteRate, burst: bounds.byteBurst, now: now)
    }
  }

  private let configuration: SignalServer.Configuration
  private let log: Logger
  private var connections: [ConnectionID: Connection] = [:]
  private var rooms: RoomTable
  private var addresses: AddressTable
  private var lastConnection: UInt64 = 0
  private var ticks = 0
  private var isShuttingDown = false
  /// The port that STUN is answered at; nil if it is not.
  var stunPort: UInt16?

  init(_ configuration: SignalServer.Configuration) {
    self.configuration = configuration
    log = configuration.logger
    rooms = RoomTable(bounds: configuration.bounds)
    addresses = AddressTable(bounds: configuration.bounds)
  }

  /// Takes a connection that was just accepted; nil if there are so many that it is not even answered.
  func accepted(_ channel: any Channel) -> Connection? {
    let now = Instant.now
    // Some more than the bound are accepted, to be told so.
    guard !isShuttingDown, connections.count < configuration.bounds.connections + 256 else { return nil }
    lastConnection += 1
    let connection = Connection(
      id: ConnectionID(rawValue: lastConnection), channel: channel, bounds: configuration.bounds, now: now)
    if connections.count >= configuration.bounds.connections { connection.refusal = .tooManyConnections }
    if !configuration.trustsForwardedFor { count(connection, now: now) }
    connections[connection.id] = connection
    channel.closeFuture.assumeIsolated().whenComplete { _ in self.ended(connection) }
    return connection
  }

  private func count(_ connection: Connection, now: Instant) {
    connection.isCounted = addresses.connect(connection.address, now: now)
    if !connection.isCounted { connection.refusal = .tooManyConnections }
  }

  /// Judges the request to upgrade; true if it may go on.
  func requested(_ head: HTTPRequestHead, on connection: Connection) -> Bool {
    let now = Instant.now
    if configuration.trustsForwardedFor, !connection.isCounted {
      // The last entry is the one that the proxy in front of us has added.
      if let last = head.headers[canonicalForm: "x-forwarded-for"].last.map(String.init),
        let bytes = ServerAddress.ipv4(last) ?? ServerAddress.ipv6(last)
      {
        connection.address = AddressKey(bytes)
      }
      count(connection, now: now)
    }
    guard connection.refusal == nil else { return false }
    guard let join = Join(head) else {
      connection.refusal = head.uri.hasPrefix("/v1/rooms/") ? .badRequest : .notFound
      return false
    }
    guard addresses.join(connection.address, now: now) else {
      connection.refusal = .tooManyJoins
      return false
    }
    connection.refusal = rooms.refusal(of: join, from: connection.address, now: now)
    connection.join = join
    connection.advertised = configuration.publicAddress ?? head.headers.first(name: "host")
    if case .host = join.role {
      let share = Limits.Signaling.hostShare
      let bounds = configuration.bounds
      connection.messages = TokenBucket(
        rate: Limits.Signaling.messageRate * share, burst: bounds.messageBurst * share, now: now)
      connection.bytes = TokenBucket(rate: Limits.Signaling.byteRate * share, burst: bounds.byteBurst * share, now: now)
    }
    return connection.refusal == nil
  }

  /// Lets a connection in whose upgrade is done. The room may have changed meanwhile.
  func upgraded(_ connection: Connection) {
    guard let join = connection.join else { preconditionFailure("only a request with a join is upgraded") }
    let now = Instant.now
    connection.isUpgraded = true
    connection.heard = now
    if isShuttingDown { return close(connection, .goingAway, "The server is shutting down.") }
    if let refusal = rooms.refusal(of: join, from: connection.address, now: now) {
      return close(connection, refusal.closeCode, refusal.sentence)
    }
    log.debug("joined", metadata: ["room": "\(join.room)", "rooms": "\(rooms.count)"])
    perform(rooms.admit(connection.id, join, from: connection.address, now: now))
  }

  /// Takes a frame of an upgraded connection.
  func received(_ frame: WebSocketFrame, on connection: Connection) {
    let now = Instant.now
    connection.heard = now
    guard connection.closing == nil else {
      // All that is awaited is the other side's close.
      if frame.opcode == .connectionClose { connection.channel.close(promise: nil) }
      return
    }
    guard frame.maskKey != nil else { return close(connection, .protocolError, "Clients mask their frames.") }
    guard frame.rsv1 == false, frame.rsv2 == false, frame.rsv3 == false else {
      return close(connection, .protocolError, "No extension was agreed on.")
    }
    guard connection.messages.take(1, now: now), connection.bytes.take(Double(frame.length), now: now) else {
      return close(connection, .policyViolation, "Too many messages.")
    }
    switch frame.opcode {
    case .binary where frame.fin:
      guard let role = rooms.role(of: connection.id), let message = SignalMessage(frame.unmaskedData, role),
        let actions = rooms.received(message, from: connection.id)
      else { return close(connection, .policyViolation, "Not a message of the protocol.") }
      perform(actions, of: role == .guest ? connection : nil)
    case .ping: send(.pong, frame.unmaskedData, to: connection)
    case .pong: break
    case .connectionClose:
      connection.isClean = true
      let code = frame.unmaskedData.readableBytes >= 2 ? frame.unmaskedData.getSlice(at: 0, length: 2) : nil
      close(connection, echo: code ?? ByteBuffer())
    case .binary, .continuation: close(connection, .unacceptableData, "Messages come in one frame.")
    default: close(connection, .unacceptableData, "Messages are binary.")
    }
  }

  /// - Parameter sender: the guest that caused it.
  private func perform(_ actions: [RoomTable.Action], of sender: Connection? = nil) {
    for action in actions {
      switch action {
      case .send(let id, let message):
        if let connection = connections[id] { send(message, to: connection, of: sender) }
      case .welcome(let id, let isHostThere, let isMeeting):
        guard let connection = connections[id] else { continue }
        let servers = stunServers(for: connection) + (isMeeting ? relays(for: connection) : [])
        send(.welcome(isHostThere: isHostThere, Array(servers.prefix(Limits.Signaling.iceServers))), to: connection)
      case .introduceRelays(let id):
        guard let connection = connections[id] else { continue }
        let servers = relays(for: connection)
        if !servers.isEmpty { send(.relays(servers), to: connection) }
      case .close(let id, let code, let reason):
        if let connection = connections[id] { close(connection, code, reason) }
      }
    }
  }

  private func send(_ message: SignalMessage, to connection: Connection, of sender: Connection? = nil) {
    var buffer = connection.channel.allocator.buffer(capacity: 64)
    message.encode(into: &buffer)
    send(.binary, buffer, to: connection, of: sender)
  }

  /// A receiver that does not keep up is dropped: what is missing once cannot be made good. A host is not dropped for
  /// what guests send it: they are, each by what waits of its own.
  private func send(
    _ opcode: WebSocketOpcode, _ data: ByteBuffer, to connection: Connection, of sender: Connection? = nil
  ) {
    guard connection.closing == nil else { return }
    let count = data.readableBytes
    let frame = WebSocketFrame(fin: true, opcode: opcode, data: data)
    let waiting = (try? connection.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    if opcode == .pong, waiting > Limits.Signaling.pongs { return }
    if let sender {
      guard sender.waiting + count <= configuration.bounds.guestBacklog else {
        return close(sender, .policyViolation, "The host does not take so much.")
      }
      sender.waiting += count
      let written = connection.channel.eventLoop.makePromise(of: Void.self)
      written.futureResult.assumeIsolated().whenComplete { _ in sender.waiting -= count }
      return connection.channel.writeAndFlush(frame, promise: written)
    }
    // On top of what all its guests may have waiting there.
    let share = connection.isHost ? 1 + Int(Limits.Signaling.hostShare) : 1
    guard waiting + count <= configuration.bounds.backlog * share else {
      connection.channel.close(promise: nil)
      return
    }
    connection.channel.writeAndFlush(frame, promise: nil)
  }

  /// Says why, takes the connection out of its room, and leaves it to the other side to hang up, for closing with
  /// unread data would reset the connection and lose the reason.
  private func close(_ connection: Connection, _ code: WebSocketErrorCode, _ reason: String) {
    var data = ByteBuffer()
    data.write(webSocketErrorCode: code)
    data.writeString(reason)
    close(connection, echo: data)
  }

  private func close(_ connection: Connection, echo data: ByteBuffer) {
    guard connection.closing == nil else { return }
    send(.connectionClose, data, to: connection)
    connection.closing = .now
    // A clean close is answered, and that is all.
    if connection.isClean { connection.channel.close(promise: nil) }
    perform(rooms.left(connection.id, isClean: connection.isClean, now: .now))
  }

  private func ended(_ connection: Connection) {
    let now = Instant.now
    guard connections.removeValue(forKey: connection.id) != nil else { return }
    if connection.isCounted { addresses.disconnect(connection.address, now: now) }
    perform(rooms.left(connection.id, isClean: connection.isClean, now: now))
  }

  /// Once a second: closes what is overdue, forgets what is over.
  func tick() {
    let now = Instant.now
    ticks &+= 1
    for connection in connections.values {
      let silence = now.seconds(since: connection.heard)
      if let closing = connection.closing {
        if now.seconds(since: closing) > 2 { connection.channel.close(promise: nil) }
      } else if !connection.isUpgraded {
        if silence > configuration.bounds.handshake { connection.channel.close(promise: nil) }
      } else if silence > configuration.bounds.idle {
        close(connection, .goingAway, "Nothing was heard for too long.")
      }
    }
    perform(rooms.expire(now: now))
    if ticks % 60 == 0 { addresses.prune(now: now) }
  }

  /// Tells everybody that the server goes away.
  func shutDown() {
    isShuttingDown = true
    for connection in connections.values {
      if connection.isUpgraded {
        close(connection, .goingAway, "The server is shutting down.")
      } else {
        connection.channel.close(promise: nil)
      }
    }
  }

  /// Whether nobody is connected.
  var isEmpty: Bool { connections.isEmpty }

  /// Hangs up on everybody who has not gone.
  func hangUp() {
    for connection in connections.values { connection.channel.close(promise: nil) }
  }

  private func stunServers(for connection: Connection) -> [IceServer] {
    var servers: [IceServer] = []
    if let port = stunPort, let advertised = connection.advertised,
      let (host, itsPort) = try? ServerAddress.hostAndPort(Substring(advertised))
    {
      let literal = host.contains(":") ? "[\(host)]" : host
      if let own = try? IceServer(uri: "stun:\(literal):\(itsPort ?? port)") { servers.append(own) }
    }
    return servers + configuration.stunServers
  }

  /// The TURN servers, with credentials for who is in a room with somebody to meet: they name the room, so that a relay
  /// can count by it, and are good for that meeting.
  private func relays(for connection: Connection) -> [IceServer] {
    guard let secret = configuration.turnSecret, let room = connection.join?.room else { return [] }
    let expiry = time(nil) + Limits.Signaling.turnLifetime
    let credentials = TurnCredentials(secret: secret, expiry: expiry, name: room.name)
    return configuration.turnServers.prefix(Limits.Signaling.iceServers).compactMap {
      try? IceServer(uri: $0.uri, username: credentials.username, credential: credentials.password)
    }
  }
}

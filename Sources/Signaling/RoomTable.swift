internal import Core
internal import NIOWebSocket

/// A connection of the server, numbered as it was accepted.
struct ConnectionID: Hashable, Sendable {
  let rawValue: UInt64
}

/// What somebody wants of a room.
struct Join: Equatable, Sendable {
  /// As what.
  enum Role: Equatable, Sendable {
    /// A transient one's room is not reserved for it when its connection breaks.
    case host(RoomToken, isTransient: Bool = false)
    case guest(waits: Bool)
  }

  let room: Room
  let role: Role
}

/// All rooms of one server: who is in them, and who is told what. No I/O, no clock.
///
///               host joins                  connection breaks
///     (no room) ──────────▶ hosted ──────────────────────────▶ reserved ── time is up ──▶ (no room)
///                            ▲ │ └─ the token's owner again ◀──────┘
///                            │ └─ clean close, or a transient host ─▶ (no room), or waiting while guests are in it
///     (no room) ── a guest that waits ──▶ waiting ── host joins ──▶ hosted
struct RoomTable: Sendable {
  /// What the caller does, in this order.
  enum Action: Equatable {
    case send(ConnectionID, SignalMessage)
    case close(ConnectionID, WebSocketErrorCode, String)
  }

  private struct Entry {
    var token: RoomToken?
    var host: ConnectionID?
    var isTransient = false
    var reservedUntil: Instant?
    var guests: [GuestID: ConnectionID] = [:]
  }

  private enum Place {
    case host(Room)
    case guest(Room, GuestID)
  }

  private let bounds: SignalBounds
  private var entries: [Room: Entry] = [:]
  private var places: [ConnectionID: Place] = [:]
  private var reserved: Set<Room> = []
  private var lastGuest: UInt32 = 0

  init(bounds: SignalBounds) { self.bounds = bounds }

  /// Rooms that are hosted, reserved or waited in.
  var count: Int { entries.count }

  /// Why `join` would be refused now, or nil.
  func refusal(of join: Join, now: Instant) -> Refusal? {
    let entry = entries[join.room]
    switch join.role {
    case .host(let token, _):
      guard let entry else { return entries.count < bounds.rooms ? nil : .tooManyRooms }
      guard let holder = entry.token, isHeld(entry, now: now) else { return nil }
      return holder == token ? nil : .occupied
    case .guest(let waits):
      if entry?.host == nil, !waits { return .nobodyThere }
      guard let entry else { return entries.count < bounds.rooms ? nil : .tooManyRooms }
      return entry.guests.count < bounds.guests ? nil : .tooManyGuests
    }
  }

  /// Lets `connection` in, which must not be refused. The welcome comes first and is made by the caller of `servers`.
  mutating func admit(_ connection: ConnectionID, _ join: Join, servers: [IceServer], now: Instant) -> [Action] {
    precondition(refusal(of: join, now: now) == nil && places[connection] == nil)
    var entry = entries[join.room] ?? Entry()
    var actions: [Action] = []
    switch join.role {
    case .host(let token, let isTransient):
      actions.append(.send(connection, .welcome(isHostThere: true, servers)))
      if let old = entry.host {
        places[old] = nil
        actions.append(.close(old, .policyViolation, "The host has come back by another connection."))
      }
      entry.host = connection
      entry.token = token
      entry.isTransient = isTransient
      entry.reservedUntil = nil
      reserved.remove(join.room)
      places[connection] = .host(join.room)
      for (guest, itsConnection) in entry.guests.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        actions.append(.send(connection, .guestJoined(guest)))
        actions.append(.send(itsConnection, .hostArrived))
      }
    case .guest:
      repeat { lastGuest &+= 1 } while entry.guests[GuestID(rawValue: lastGuest)] != nil
      let guest = GuestID(rawValue: lastGuest)
      entry.guests[guest] = connection
      places[connection] = .guest(join.room, guest)
      actions.append(.send(connection, .welcome(isHostThere: entry.host != nil, servers)))
      if let host = entry.host { actions.append(.send(host, .guestJoined(guest))) }
    }
    entries[join.room] = entry
    return actions
  }

  /// The role of a connection that is in a room.
  func role(of connection: ConnectionID) -> SignalMessage.Role? {
    switch places[connection] {
    case .host: .host
    case .guest: .guest
    case nil: nil
    }
  }

  /// What follows from a message; nil if it is none that this connection may send.
  mutating func received(_ message: SignalMessage, from connection: ConnectionID) -> [Action]? {
    switch (places[connection], message) {
    case (.host(let room), .fromOrToGuest(let guest, let payload)):
      // A guest may have left while the message was on its way.
      guard let receiver = entries[room]?.guests[guest] else { return [] }
      return [.send(receiver, .plain(payload))]
    case (.host(let room), .guestLeft(let guest)):
      guard let receiver = entries[room]?.guests.removeValue(forKey: guest) else { return [] }
      places[receiver] = nil
      return [.close(receiver, .policyViolation, "The host has ended the conversation.")]
    case (.guest(let room, let guest), .plain(let payload)):
      guard let host = entries[room]?.host else { return [] }
      return [.send(host, .fromOrToGuest(guest, payload))]
    default:
      return nil
    }
  }

  /// Takes a connection that is gone out of its room. A host that closed cleanly gives the room up; one that broke
  /// off may come back with its token.
  mutating func left(_ connection: ConnectionID, isClean: Bool, now: Instant) -> [Action] {
    guard let place = places.removeValue(forKey: connection) else { return [] }
    switch place {
    case .host(let room):
      guard var entry = entries[room], entry.host == connection else { return [] }
      entry.host = nil
      if isClean || entry.isTransient {
        entry.token = nil
      } else {
        entry.reservedUntil = now.advanced(by: bounds.reservation)
        reserved.insert(room)
      }
      store(entry, room)
      return entry.guests.values.map { .send($0, .hostLeft) }
    case .guest(let room, let guest):
      guard var entry = entries[room] else { return [] }
      entry.guests[guest] = nil
      store(entry, room)
      return entry.host.map { [.send($0, .guestLeft(guest))] } ?? []
    }
  }

  /// Forgets reservations whose time is up.
  mutating func expire(now: Instant) {
    for room in reserved {
      guard var entry = entries[room], let until = entry.reservedUntil, until <= now else { continue }
      entry.token = nil
      entry.reservedUntil = nil
      reserved.remove(room)
      store(entry, room)
    }
  }

  private mutating func store(_ entry: Entry, _ room: Room) {
    let isEmpty = entry.host == nil && entry.token == nil && entry.guests.isEmpty
    entries[room] = isEmpty ? nil : entry
  }

  private func isHeld(_ entry: Entry, now: Instant) -> Bool {
    entry.host != nil || entry.reservedUntil.map { $0 > now } ?? false
  }
}

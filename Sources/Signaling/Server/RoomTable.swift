import P2PFSCore
import NIOWebSocket

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
    /// `isMeeting`: somebody is there to be met at once, so that relays are of use.
    case welcome(ConnectionID, isHostThere: Bool, isMeeting: Bool)
    /// Somebody is there to be met now: relays are of use from here on.
    case introduceRelays(ConnectionID)
    case send(ConnectionID, SignalMessage)
    case close(ConnectionID, WebSocketErrorCode, String)
  }

  private struct Entry {
    var token: RoomToken?
    var host: ConnectionID?
    var isTransient = false
    var reservedUntil: Instant?
    var guests: [GuestID: Guest] = [:]
  }

  private struct Guest {
    let connection: ConnectionID
    let address: AddressKey
    /// Counts the guests of all rooms.
    let order: UInt64
    /// Whether it has said anything.
    var hasSpoken = false
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
  private var lastOrder: UInt64 = 0
  /// Guests that have a host and have not spoken to it, and since when.
  private var silent: [ConnectionID: Instant] = [:]

  init(bounds: SignalBounds) { self.bounds = bounds }

  /// Rooms that are hosted, reserved or waited in.
  var count: Int { entries.count }

  /// Why `join` by somebody at `address` would be refused now, or nil.
  func refusal(of join: Join, from address: AddressKey, now: Instant) -> JoinRefusal? {
    let entry = entries[join.room]
    switch join.role {
    case .host(let token, _):
      guard let entry else { return entries.count < bounds.rooms ? nil : .tooManyRooms }
      guard let holder = entry.token, isHeld(entry, now: now) else { return nil }
      return holder == token ? nil : .occupied
    case .guest(let waits):
      if entry?.host == nil, !waits { return .nobodyThere }
      guard let entry else { return entries.count < bounds.rooms ? nil : .tooManyRooms }
      return entry.guests.count < bounds.guests || displaced(in: entry, by: address) != nil ? nil : .tooManyGuests
    }
  }

  /// Whom a guest from `address` displaces in a room that is full, so that no address keeps others out: one of an address
  /// that has more places, who has not spoken if possible, else of one that has more even afterwards; of the address
  /// with the most places, and there who came first.
  private func displaced(in entry: Entry, by address: AddressKey) -> GuestID? {
    var places: [AddressKey: Int] = [:]
    for guest in entry.guests.values { places[guest.address, default: 0] += 1 }
    let own = places[address] ?? 0
    func rank(_ guest: Guest) -> (Int, Int, UInt64) {
      (guest.hasSpoken ? 1 : 0, -(places[guest.address] ?? 0), guest.order)
    }
    return entry.guests
      .filter { (places[$0.value.address] ?? 0) > own + ($0.value.hasSpoken ? 1 : 0) }
      .min { rank($0.value) < rank($1.value) }?.key
  }

  /// Lets `connection` in, which must not be refused. The welcome comes first.
  mutating func admit(
    _ connection: ConnectionID, _ join: Join, from address: AddressKey, now: Instant
  ) -> [Action] {
    precondition(refusal(of: join, from: address, now: now) == nil && places[connection] == nil)
    var entry = entries[join.room] ?? Entry()
    var actions: [Action] = []
    switch join.role {
    case .host(let token, let isTransient):
      actions.append(.welcome(connection, isHostThere: true, isMeeting: !entry.guests.isEmpty))
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
      for (id, guest) in entry.guests.sorted(by: { $0.value.order < $1.value.order }) {
        actions.append(.send(connection, .guestJoined(id)))
        actions.append(.introduceRelays(guest.connection))
        actions.append(.send(guest.connection, .hostArrived))
        if !guest.hasSpoken { silent[guest.connection] = now }
      }
    case .guest:
      if entry.guests.count >= bounds.guests, let id = displaced(in: entry, by: address),
        let guest = entry.guests.removeValue(forKey: id)
      {
        places[guest.connection] = nil
        silent[guest.connection] = nil
        actions.append(.close(guest.connection, .unknown(1013), "The room is full."))
        if let host = entry.host { actions.append(.send(host, .guestLeft(id))) }
      }
      repeat { lastGuest &+= 1 } while entry.guests[GuestID(rawValue: lastGuest)] != nil
      lastOrder += 1
      let guest = GuestID(rawValue: lastGuest)
      entry.guests[guest] = Guest(connection: connection, address: address, order: lastOrder)
      places[connection] = .guest(join.room, guest)
      actions.append(.welcome(connection, isHostThere: entry.host != nil, isMeeting: entry.host != nil))
      if let host = entry.host {
        silent[connection] = now
        actions.append(.introduceRelays(host))
        actions.append(.send(host, .guestJoined(guest)))
      }
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
      return [.send(receiver.connection, .plain(payload))]
    case (.host(let room), .guestLeft(let guest)):
      guard let receiver = entries[room]?.guests.removeValue(forKey: guest)?.connection else { return [] }
      places[receiver] = nil
      silent[receiver] = nil
      return [.close(receiver, .policyViolation, "The host has ended the conversation.")]
    case (.guest(let room, let guest), .plain(let payload)):
      guard let host = entries[room]?.host else { return [] }
      if silent.removeValue(forKey: connection) != nil { entries[room]?.guests[guest]?.hasSpoken = true }
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
      // They begin anew with the next host.
      for guest in entry.guests.values { silent[guest.connection] = nil }
      return entry.guests.values.map { .send($0.connection, .hostLeft) }
    case .guest(let room, let guest):
      silent[connection] = nil
      guard var entry = entries[room] else { return [] }
      entry.guests[guest] = nil
      store(entry, room)
      return entry.host.map { [.send($0, .guestLeft(guest))] } ?? []
    }
  }

  /// Forgets reservations whose time is up. Returns how guests end that have not spoken to their host for too long.
  mutating func expire(now: Instant) -> [Action] {
    for room in reserved {
      guard var entry = entries[room], let until = entry.reservedUntil, until <= now else { continue }
      entry.token = nil
      entry.reservedUntil = nil
      reserved.remove(room)
      store(entry, room)
    }
    let overdue = silent.filter { now.seconds(since: $0.value) > bounds.silence }.keys
    return overdue.map { .close($0, .policyViolation, "Nothing was said.") }
  }

  private mutating func store(_ entry: Entry, _ room: Room) {
    let isEmpty = entry.host == nil && entry.token == nil && entry.guests.isEmpty
    entries[room] = isEmpty ? nil : entry
  }

  private func isHeld(_ entry: Entry, now: Instant) -> Bool {
    entry.host != nil || entry.reservedUntil.map { $0 > now } ?? false
  }
}

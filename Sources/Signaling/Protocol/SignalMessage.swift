import P2PFSCore
import NIOCore

/// What the server and its clients say over the WebSocket, one binary message each:
///
///     1 welcome      host there (1) ‖ count (1) ‖ count × (URI, username, credential: length (2) ‖ bytes)   ▶ client
///     2 payload      to and from a host: guest (4) ‖ bytes; to and from a guest: bytes                       ◀▶
///     3 guestJoined  guest (4)                                                                               ▶ host
///     4 guestLeft    guest (4); from the host it dismisses the guest                                         ◀▶ host
///     5 hostArrived                                                                                          ▶ guest
///     6 hostLeft                                                                                             ▶ guest
///     7 relays       as the welcome, from its count on: TURN servers for the meeting that begins             ▶ client
///
/// Numbers are big-endian. Bytes of a payload are sealed by the peers and mean nothing to the server.
enum SignalMessage: Equatable {
  case welcome(isHostThere: Bool, [IceServer])
  case fromOrToGuest(GuestID, ByteBuffer)
  case plain(ByteBuffer)
  case guestJoined(GuestID)
  case guestLeft(GuestID)
  case hostArrived
  case hostLeft
  case relays([IceServer])

  /// Which end of the room the WebSocket belongs to: payloads differ.
  enum Role: String, Sendable {
    case host
    case guest
  }

  /// Appends the message to `buffer`.
  func encode(into buffer: inout ByteBuffer) {
    switch self {
    case .welcome(let isHostThere, let servers):
      buffer.writeMultipleIntegers(UInt8(1), isHostThere ? UInt8(1) : 0)
      Self.encode(servers, into: &buffer)
    case .fromOrToGuest(let guest, let payload):
      buffer.writeMultipleIntegers(UInt8(2), guest.rawValue)
      buffer.writeImmutableBuffer(payload)
    case .plain(let payload):
      buffer.writeInteger(UInt8(2))
      buffer.writeImmutableBuffer(payload)
    case .guestJoined(let guest): buffer.writeMultipleIntegers(UInt8(3), guest.rawValue)
    case .guestLeft(let guest): buffer.writeMultipleIntegers(UInt8(4), guest.rawValue)
    case .hostArrived: buffer.writeInteger(UInt8(5))
    case .hostLeft: buffer.writeInteger(UInt8(6))
    case .relays(let servers):
      buffer.writeInteger(UInt8(7))
      Self.encode(servers, into: &buffer)
    }
  }

  private static func encode(_ servers: [IceServer], into buffer: inout ByteBuffer) {
    buffer.writeInteger(UInt8(servers.count))
    for server in servers {
      for text in [server.uri, server.username ?? "", server.credential ?? ""] {
        buffer.writeInteger(UInt16(text.utf8.count))
        buffer.writeString(text)
      }
    }
  }

  /// Reads what came over the WebSocket of `role`, from either end; nil if it is no message.
  init?(_ buffer: ByteBuffer, _ role: Role) {
    var buffer = buffer
    func guest() -> GuestID? { buffer.readInteger(as: UInt32.self).map(GuestID.init(rawValue:)) }
    switch (buffer.readInteger(as: UInt8.self), role) {
    case (1, _):
      guard let isHostThere = buffer.readInteger(as: UInt8.self), isHostThere <= 1,
        let servers = Self.servers(&buffer)
      else { return nil }
      self = .welcome(isHostThere: isHostThere == 1, servers)
    case (2, .host):
      guard let guest = guest() else { return nil }
      self = .fromOrToGuest(guest, buffer)
      return
    case (2, .guest):
      self = .plain(buffer)
      return
    case (3, .host):
      guard let guest = guest() else { return nil }
      self = .guestJoined(guest)
    case (4, .host):
      guard let guest = guest() else { return nil }
      self = .guestLeft(guest)
    case (5, .guest): self = .hostArrived
    case (6, .guest): self = .hostLeft
    case (7, _):
      guard let servers = Self.servers(&buffer) else { return nil }
      self = .relays(servers)
    default: return nil
    }
    guard buffer.readableBytes == 0 else { return nil }
  }

  /// URIs of a kind that this version does not know are passed over.
  private static func servers(_ buffer: inout ByteBuffer) -> [IceServer]? {
    guard let count = buffer.readInteger(as: UInt8.self), count <= Limits.Signaling.iceServers else { return nil }
    var servers: [IceServer] = []
    for _ in 0..<count {
      var texts: [String] = []
      for _ in 0..<3 {
        guard let length = buffer.readInteger(as: UInt16.self), length <= Limits.Signaling.iceText,
          let bytes = buffer.readBytes(length: Int(length)), bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        texts.append(String(decoding: bytes, as: UTF8.self))
      }
      let optional = { (text: String) in text.isEmpty ? nil : text }
      if let server = try? IceServer(uri: texts[0], username: optional(texts[1]), credential: optional(texts[2])) {
        servers.append(server)
      }
    }
    return servers
  }
}

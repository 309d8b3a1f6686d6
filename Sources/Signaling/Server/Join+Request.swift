import NIOHTTP1

/// What a client says is in its upgrade request, so that a room costs no round trip more than a WebSocket:
///
///     GET /v1/rooms/482153 HTTP/1.1
///     P2PFS-Role: host | guest
///     P2PFS-Token: 64 hexadecimal digits, of a host
///     P2PFS-Transient: 1, of a host whose room is free at once when its connection breaks
///     P2PFS-Wait: 1, of a guest that waits for a host
///
/// A refusal's answer carries `P2PFS-Refusal` with one of the words of `JoinRefusal`.
extension Join {
  static let pathPrefix = "/v1/rooms/"
  static let roleField = "P2PFS-Role"
  static let tokenField = "P2PFS-Token"
  static let transientField = "P2PFS-Transient"
  static let waitField = "P2PFS-Wait"
  static let refusalField = "P2PFS-Refusal"

  /// Reads the request; nil if it is not one.
  init?(_ head: HTTPRequestHead) {
    guard head.method == .GET, head.uri.hasPrefix(Self.pathPrefix),
      let room = Room(head.uri.dropFirst(Self.pathPrefix.count))
    else { return nil }
    switch SignalMessage.Role(rawValue: head.headers.first(name: Self.roleField) ?? "") {
    case .host:
      guard let token = head.headers.first(name: Self.tokenField).flatMap(RoomToken.init(hex:)) else { return nil }
      self.init(room: room, role: .host(token, isTransient: head.headers.first(name: Self.transientField) == "1"))
    case .guest:
      self.init(room: room, role: .guest(waits: head.headers.first(name: Self.waitField) == "1"))
    case nil: return nil
    }
  }

  /// The fields of the request.
  var fields: [(String, String)] {
    switch role {
    case .host(let token, let isTransient):
      [(Self.roleField, SignalMessage.Role.host.rawValue), (Self.tokenField, token.hex)]
        + (isTransient ? [(Self.transientField, "1")] : [])
    case .guest(let waits):
      [(Self.roleField, SignalMessage.Role.guest.rawValue)] + (waits ? [(Self.waitField, "1")] : [])
    }
  }

  /// Where the request goes, below the server's own path.
  var path: String { Self.pathPrefix + room.name }
}

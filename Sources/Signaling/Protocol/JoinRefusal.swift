import NIOHTTP1
import NIOWebSocket

/// Why the server does not let somebody into a room, with the one answer for each.
enum JoinRefusal: String, Sendable, Equatable {
  case nobodyThere = "nobody-there"
  case occupied = "room-occupied"
  case badRequest = "bad-request"
  case tooManyRooms = "too-many-rooms"
  case tooManyGuests = "too-many-guests"
  case tooManyConnections = "too-many-connections"
  case tooManyJoins = "too-many-joins"
  case notFound = "not-found"
  case notAnUpgrade = "not-an-upgrade"

  /// The HTTP status it is answered with before the upgrade.
  var status: HTTPResponseStatus {
    switch self {
    case .nobodyThere, .notFound: .notFound
    case .occupied: .conflict
    case .badRequest: .badRequest
    case .tooManyRooms, .tooManyGuests, .tooManyConnections: .serviceUnavailable
    case .tooManyJoins: .tooManyRequests
    case .notAnUpgrade: .upgradeRequired
    }
  }

  /// The WebSocket close code it is answered with after the upgrade.
  var closeCode: WebSocketErrorCode {
    switch self {
    case .nobodyThere, .occupied, .badRequest, .notFound, .notAnUpgrade: .policyViolation
    case .tooManyRooms, .tooManyGuests, .tooManyConnections, .tooManyJoins: .unknown(1013)
    }
  }

  /// A sentence for whoever reads the answer.
  var sentence: String {
    switch self {
    case .nobodyThere: "Nobody is in the room."
    case .occupied: "Another host has this room."
    case .badRequest: "The request is not one of p2pfs."
    case .tooManyRooms: "The server has no room left."
    case .tooManyGuests: "The room is full."
    case .tooManyConnections: "Too many connections."
    case .tooManyJoins: "Too many joins from this address; try again in a minute."
    case .notFound: "There is nothing here."
    case .notAnUpgrade: "This is a signaling server of p2pfs: it speaks WebSocket."
    }
  }
}

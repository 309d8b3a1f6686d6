import CP2PFSLinux
import Glibc

/// Parses messages of rtnetlink(7). Reads no byte beyond the end of a datagram.
///
/// ```
/// datagram:  message ‖ message ‖ …                                              each padded to 4 bytes
/// message:   length (4) ‖ type (2) ‖ flags (2) ‖ sequence (4) ‖ port (4) ‖ body
/// route:     family (1) ‖ lengths and kinds (7) ‖ flags (4) ‖ attribute ‖ …
/// attribute: length (2) ‖ type (2) ‖ value                                      padded to 4 bytes
/// ```
/// Numbers are in the machine's order; lengths include their header.
enum NetworkMessage {
  /// The route to one destination.
  struct Route: Equatable {
    /// Number of the outgoing interface, address of the next router, source address.
    var interface: UInt32 = 0
    var gateway: [UInt8] = []
    var source: [UInt8] = []
  }

  /// Whether a datagram reports that a link, an address or a route has changed. Cached routes to single destinations do
  /// not count.
  static func tellsOfChange(_ datagram: UnsafeRawBufferPointer) -> Bool {
    var tells = false
    forEach(datagram) { type, body in
      switch Int(type) {
      case RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR: tells = true
      case RTM_NEWROUTE, RTM_DELROUTE:
        guard body.count >= routeHeader else { return }
        let flags = body.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
        if flags & UInt32(RTM_F_CLONED) == 0 { tells = true }
      default: break
      }
    }
    return tells
  }

  /// The route in an answer to a route query; nil if there is none, as in an error.
  static func route(in datagram: UnsafeRawBufferPointer) -> Route? {
    var found: Route?
    forEach(datagram) { type, body in
      guard Int(type) == RTM_NEWROUTE, found == nil, body.count >= routeHeader else { return }
      var route = Route()
      forEachAttribute(UnsafeRawBufferPointer(rebasing: body[routeHeader...])) { type, value in
        switch Int(type) {
        case Int(RTA_OIF.rawValue) where value.count == 4: route.interface = value.loadUnaligned(as: UInt32.self)
        // A gateway of another family (RTA_VIA) begins with two bytes for the family.
        case Int(RTA_GATEWAY.rawValue) where value.count <= 16, Int(RTA_VIA.rawValue) where value.count <= 18:
          route.gateway = Array(value)
        case Int(RTA_PREFSRC.rawValue) where value.count <= 16: route.source = Array(value)
        default: break
        }
      }
      found = route
    }
    return found
  }

  private static let header = 16
  private static let routeHeader = 12

  private static func forEach(
    _ datagram: UnsafeRawBufferPointer, _ body: (_ type: UInt16, _ body: UnsafeRawBufferPointer) -> Void
  ) {
    var rest = datagram[...]
    while rest.count >= header {
      let message = UnsafeRawBufferPointer(rebasing: rest)
      let length = Int(message.loadUnaligned(as: UInt32.self))
      guard length >= header, length <= message.count else { return }
      body(
        message.loadUnaligned(fromByteOffset: 4, as: UInt16.self),
        UnsafeRawBufferPointer(rebasing: message[header..<length]))
      rest = rest.dropFirst((length + 3) & ~3)
    }
  }

  private static func forEachAttribute(
    _ attributes: UnsafeRawBufferPointer, _ body: (_ type: UInt16, _ value: UnsafeRawBufferPointer) -> Void
  ) {
    var rest = attributes[...]
    while rest.count >= 4 {
      let attribute = UnsafeRawBufferPointer(rebasing: rest)
      let length = Int(attribute.loadUnaligned(as: UInt16.self))
      guard length >= 4, length <= attribute.count else { return }
      body(
        attribute.loadUnaligned(fromByteOffset: 2, as: UInt16.self),
        UnsafeRawBufferPointer(rebasing: attribute[4..<length]))
      rest = rest.dropFirst((length + 3) & ~3)
    }
  }
}

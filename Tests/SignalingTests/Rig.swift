import P2PFSCore
import Glibc

@testable import P2PFSSignaling

/// Waits that end: `body`, or a failure after ten seconds.
func within<Value: Sendable>(
  seconds: Int = 10, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value.self) { group in
    group.addTask(operation: body)
    group.addTask {
      try await Task.sleep(for: .seconds(seconds))
      throw Overdue()
    }
    defer { group.cancelAll() }
    guard let first = try await group.next() else { throw Overdue() }
    return first
  }
}

/// A wait that did not end.
struct Overdue: Error {}

/// A server on loopback, and its address.
func startServer(
  _ change: (inout SignalServer.Configuration) -> Void = { _ in }
) async throws -> (SignalServer, ServerAddress) {
  var configuration = SignalServer.Configuration()
  configuration.host = "127.0.0.1"
  configuration.port = .exactly(0)
  configuration.bounds.joinsPerMinute = 100_000
  configuration.bounds.connectionsPerAddress = 100_000
  change(&configuration)
  let server = try await SignalServer.start(configuration)
  let scheme: ServerAddress.Scheme = configuration.certificateFile == nil ? .ws : .wss
  return (server, ServerAddress(scheme: scheme, host: "127.0.0.1", port: server.port))
}

extension AsyncStream where Element: Sendable {
  /// The next element within ten seconds; nil at the end.
  func next() async throws -> Element? {
    try await within {
      var iterator = self.makeAsyncIterator()
      return await iterator.next()
    }
  }
}

/// A plain socket that says what no honest client says.
final class RawSocket: Sendable {
  private let descriptor: Int32

  /// Connects to 127.0.0.1; reads give up after five seconds.
  init(port: UInt16, receiveBuffer: Int32? = nil) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var timeout = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    if var receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
    }
    let result = Loopback.with(port: port) { connect(descriptor, $0, $1) }
    precondition(result == 0, "the test's server listens")
  }

  deinit { close(descriptor) }

  /// Writes all; false once the other side has hung up.
  @discardableResult
  func write(_ bytes: [UInt8]) -> Bool {
    var offset = 0
    while offset < bytes.count {
      let count = bytes[offset...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      offset += count
    }
    return true
  }

  /// What comes, at most 64 KiB; empty at the end; nil if nothing comes for five seconds or the connection is reset.
  func read() -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    return count < 0 ? nil : Array(buffer[..<count])
  }

  /// All that comes until the other side hangs up; nil if it does not within five seconds of silence.
  func readToEnd() -> [UInt8]? {
    var all: [UInt8] = []
    while true {
      guard let part = read() else { return errno == ECONNRESET ? all : nil }
      if part.isEmpty { return all }
      all += part
    }
  }

  /// The server's close frame, if it comes before the end and within five seconds of silence.
  func readClosing() -> (code: Int, reason: String)? {
    var all: [UInt8] = []
    while let part = read(), !part.isEmpty {
      all += part
      if let closing = Self.closing(all) { return closing }
    }
    return nil
  }

  /// Upgrades as a member of a room, and returns the answer's head; what follows it is dropped.
  func upgrade(room: String, _ fields: [String]) -> String {
    let request = [
      "GET /v1/rooms/\(room) HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    write(Array((request + fields + ["", ""]).joined(separator: "\r\n").utf8))
    return String(decoding: read() ?? [], as: UTF8.self)
  }

  /// A frame as clients send it, masked with zeros.
  static func frame(_ opcode: UInt8, _ payload: [UInt8], final: Bool = true, masked: Bool = true) -> [UInt8] {
    var bytes: [UInt8] = [(final ? 0x80 : 0) | opcode]
    let mask: UInt8 = masked ? 0x80 : 0
    if payload.count < 126 {
      bytes.append(mask | UInt8(payload.count))
    } else {
      bytes += [mask | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
    }
    return bytes + (masked ? [0, 0, 0, 0] : []) + payload
  }

  /// The code and the reason of the close frame at the end of `bytes`, which are frames as servers send them.
  static func closing(_ bytes: [UInt8]?) -> (code: Int, reason: String)? {
    var rest = bytes?[...] ?? []
    while rest.count >= 2 {
      let opcode = rest[rest.startIndex] & 15
      var length = Int(rest[rest.startIndex + 1])
      var header = 2
      if length == 126 {
        guard rest.count >= 4 else { return nil }
        length = Int(rest[rest.startIndex + 2]) << 8 | Int(rest[rest.startIndex + 3])
        header = 4
      }
      guard length != 127, rest.count >= header + length else { return nil }
      let payload = Array(rest.dropFirst(header).prefix(length))
      if opcode == 8, payload.count >= 2 {
        return (Int(payload[0]) << 8 | Int(payload[1]), String(decoding: payload[2...], as: UTF8.self))
      }
      rest = rest.dropFirst(header + length)
    }
    return nil
  }
}

extension HostConnection {
  /// The guest that the next event says has come.
  func nextGuest() async throws -> GuestID {
    let event = try await events.next()
    guard case .joined(let guest)? = event else { throw Unexpected(event: event) }
    return guest
  }
}

/// An event that should have been another.
struct Unexpected: Error {
  let event: HostEvent?
}

/// The sockaddr_in of 127.0.0.1, byte by byte: its members belong to another module than Glibc in these tests.
enum Loopback {
  static func with(port: UInt16, _ body: (UnsafePointer<sockaddr>?, socklen_t) -> Int32) -> Int32 {
    let family = withUnsafeBytes(of: sa_family_t(AF_INET)) { Array($0) }
    let bytes = family + [UInt8(port >> 8), UInt8(port & 0xFF), 127, 0, 0, 1] + [UInt8](repeating: 0, count: 8)
    return bytes.withUnsafeBytes { body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), 16) }
  }

  /// The port that a socket of 127.0.0.1 is bound to.
  static func port(of descriptor: Int32) -> UInt16 {
    var bytes = [UInt8](repeating: 0, count: 16)
    var length: socklen_t = 16
    bytes.withUnsafeMutableBytes {
      _ = getsockname(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
    }
    return UInt16(bytes[2]) << 8 | UInt16(bytes[3])
  }
}

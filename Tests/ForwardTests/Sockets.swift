import Rig
import Glibc
import Synchronization

/// A connected socket of a test, whose calls block for ten seconds at most.
final class TestSocket: Sendable {
  private let descriptor: Mutex<Int32>

  init(_ descriptor: Int32) {
    self.descriptor = Mutex(descriptor)
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close() }

  /// Connects to a port of 127.0.0.1; nil if that is refused.
  static func connect(port: UInt16) -> TestSocket? {
    let new = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let isDone = withLoopback(port) { Glibc.connect(new, $0, $1) == 0 }
    if isDone { return TestSocket(new) }
    Glibc.close(new)
    return nil
  }

  /// Connects to a Unix socket; nil if that is refused.
  static func connect(path: String) -> TestSocket? {
    let new = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let isDone = withUnixAddress(path) { Glibc.connect(new, $0, $1) == 0 }
    if isDone { return TestSocket(new) }
    Glibc.close(new)
    return nil
  }

  private var number: Int32 { descriptor.withLock { $0 } }

  /// Writes all of it; false if that fails.
  @discardableResult
  func write(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  /// Writes without blocking as long as the kernel takes it, with pauses of a quarter of a second at most; returns how
  /// much that was.
  func writeUntilFull(limit: Int) -> Int {
    let chunk = [UInt8](repeating: 7, count: 65_536)
    var total = 0
    var pauses = 0
    while total < limit, pauses < 25 {
      let count = chunk.withUnsafeBytes {
        send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      }
      if count > 0 {
        total += count
        pauses = 0
      } else {
        guard errno == EAGAIN else { return total }
        pauses += 1
        usleep(10_000)
      }
    }
    return total
  }

  /// What came in, and how it ended.
  enum End: Equatable {
    case end
    case reset
    case timeout
    case enough
  }

  /// Reads up to the end, or `limit` bytes.
  func read(limit: Int = .max) -> (bytes: [UInt8], end: End) {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while all.count < limit {
      let count = recv(number, &buffer, min(buffer.count, limit - all.count), 0)
      if count == 0 { return (all, .end) }
      guard count > 0 else { return (all, errno == ECONNRESET || errno == EPIPE ? .reset : .timeout) }
      all += buffer[..<count]
    }
    return (all, .enough)
  }

  /// Reads up to the end and keeps only a checksum and the length.
  func digest() -> (hash: UInt64, count: Int, end: End) {
    var hash = Checksum()
    var buffer = [UInt8](repeating: 0, count: 262_144)
    while true {
      let count = recv(number, &buffer, buffer.count, 0)
      if count == 0 { return (hash.value, hash.count, .end) }
      guard count > 0 else { return (hash.value, hash.count, errno == ECONNRESET ? .reset : .timeout) }
      buffer.withUnsafeBytes { hash.add(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
  }

  func text(_ limit: Int = .max) -> String { String(decoding: read(limit: limit).bytes, as: UTF8.self) }

  /// Waits until the connection is broken, without reading or writing.
  func isBroken(within seconds: Double = 5) -> Bool {
    var events = pollfd(fd: number, events: 0, revents: 0)
    return eventually(within: seconds) { poll(&events, 1, 0) == 1 && events.revents & Int16(POLLERR) != 0 }
  }

  func finish() { shutdown(number, Int32(SHUT_WR)) }

  func close() {
    descriptor.withLock { number in
      if number >= 0 { Glibc.close(number) }
      number = -1
    }
  }

  /// Closes it with RST.
  func reset() {
    var value = linger(l_onoff: 1, l_linger: 0)
    setsockopt(number, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    close()
  }
}

/// FNV-1a over words, and how much it was: tells one stream from another, quickly also without optimisation.
struct Checksum: Equatable {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
  private(set) var count = 0
  private var rest: [UInt8] = []

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    count += bytes.count
    var bytes = bytes
    if !rest.isEmpty {
      let missing = min(8 - rest.count, bytes.count)
      rest += bytes[..<missing]
      bytes = UnsafeRawBufferPointer(rebasing: bytes[missing...])
      guard rest.count == 8 else { return }
      rest.withUnsafeBytes { mix($0.loadUnaligned(as: UInt64.self)) }
      rest = []
    }
    let words = bytes.count / 8
    for index in 0..<words { mix(bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)) }
    rest += bytes[(words * 8)...]
  }

  private mutating func mix(_ word: UInt64) { value = (value ^ word) &* 0x100_0000_01b3 }
}

/// Something that listens.
final class TestServer: Sendable {
  let port: UInt16
  let path: String?
  private let descriptor: Int32

  /// Listens at a free port of 127.0.0.1.
  init() {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    path = nil
    port = withLoopback(0) { [descriptor] address, length in
      var length = length
      let own = UnsafeMutablePointer(mutating: address)
      guard bind(descriptor, own, length) == 0, listen(descriptor, 256) == 0,
        getsockname(descriptor, own, &length) == 0
      else { return 0 }
      return own.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { UInt16(bigEndian: $0.pointee.sin_port) }
    }
  }

  /// Listens at a path; one connection more than `backlog` may wait.
  init(path: String, backlog: Int32 = 64) {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    self.path = path
    port = 0
    _ = withUnixAddress(path) { [descriptor] in bind(descriptor, $0, $1) }
    listen(descriptor, backlog)
  }

  deinit { close(descriptor) }

  /// The next connection; nil if there is none for `seconds`.
  func accept(within seconds: Double = 10) -> TestSocket? {
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, Int32(seconds * 1000)) == 1 else { return nil }
    let new = Glibc.accept(descriptor, nil, nil)
    return new >= 0 ? TestSocket(new) : nil
  }
}

/// A port of 127.0.0.1 at which nobody listens.
func freePort() -> UInt16 { TestServer().port }

private func withLoopback<R>(_ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
  address.sin_port = port.bigEndian
  return withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

private func withUnixAddress<R>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
  }
}

/// Runs something that blocks on a thread of its own.
final class Running<Value: Sendable>: Sendable {
  private let result = Mutex<Value?>(nil)

  init(_ body: @escaping @Sendable () -> Value) {
    var thread = pthread_t()
    let work = Unmanaged.passRetained(
      Work { [self] in
        let value = body()
        result.withLock { $0 = value }
      })
    pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, work.toOpaque())
    pthread_detach(thread)
  }

  /// What it returned; nil if it does not within `seconds`.
  func value(within seconds: Double = 30) -> Value? {
    _ = eventually(within: seconds) { result.withLock { $0 } != nil }
    return result.withLock { $0 }
  }
}

private final class Work: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

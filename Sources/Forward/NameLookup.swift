import P2PFSCore
import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// The addresses of a host, as getaddrinfo(3) gives them.
enum NameLookup {
  /// The reason why there are none.
  struct Failure: Error {
    let description: String
  }

  /// A sockaddr of any family, byte for byte.
  struct Address: Sendable {
    let family: Int32
    let bytes: [UInt8]
  }

  /// The number of lookups on other threads since the process started.
  static let begun = Atomic<Int>(0)
  private static let waiting = Atomic<Int>(0)

  /// The addresses of a host. Blocks as long as name servers take, except for localhost and numeric addresses.
  static func addresses(of host: String, port: UInt16) throws(Failure) -> [Address] {
    // RFC 6761, section 6.3: localhost is this computer, whatever a name server says.
    if host == "localhost" {
      return try addresses(of: "127.0.0.1", port: port) + addresses(of: "::1", port: port)
    }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV | (isAddress(host) ? AI_NUMERICHOST : 0)
    var list: UnsafeMutablePointer<addrinfo>?
    let error = getaddrinfo(host, "\(port)", &hints, &list)
    guard error == 0 else { throw Failure(description: String(cString: gai_strerror(error))) }
    defer { freeaddrinfo(list) }
    var result: [Address] = []
    var next = list
    while let entry = next, result.count < 16 {
      if let address = entry.pointee.ai_addr {
        let bytes = UnsafeRawBufferPointer(start: address, count: Int(entry.pointee.ai_addrlen))
        result.append(Address(family: entry.pointee.ai_family, bytes: Array(bytes)))
      }
      next = entry.pointee.ai_next
    }
    return result
  }

  static func isAddress(_ host: String) -> Bool {
    ServerAddress.ipv4(host) != nil || ServerAddress.ipv6(host) != nil
  }

  /// Looks up a host, on another thread if it needs a name server. `promise` may belong to any loop.
  fileprivate static func lookUp(
    _ host: String, port: UInt16, isCancelled: @escaping @Sendable () -> Bool,
    _ promise: EventLoopPromise<[SocketAddress]>
  ) {
    @Sendable func look() throws -> [SocketAddress] { try addresses(of: host, port: port).compactMap(socketAddress) }
    if host == "localhost" || isAddress(host) { return promise.completeWith(Result(catching: look)) }
    onThread(if: { !isCancelled() }) {
      begun.add(1, ordering: .relaxed)
      return try look()
    }.cascade(to: promise)
  }

  /// Runs work that may wait for a name server on another thread.
  /// - Parameter isWanted: called before the work starts, on any thread: it may have waited for long.
  /// - Returns: fails with `Failure` also if `isWanted` returned false, or if too many lookups wait already.
  static func onThread<Value: Sendable>(
    if isWanted: @escaping @Sendable () -> Bool, _ body: @escaping @Sendable () throws -> Value
  ) -> EventLoopFuture<Value> {
    let promise = ForwardLoop.loop.makePromise(of: Value.self)
    guard waiting.add(1, ordering: .relaxed).newValue <= Limits.Forward.lookups else {
      waiting.subtract(1, ordering: .relaxed)
      promise.fail(Failure(description: "too many names are being looked up"))
      return promise.futureResult
    }
    ForwardLoop.threads.submit { state in
      defer { waiting.subtract(1, ordering: .relaxed) }
      guard state == .active, isWanted() else {
        return promise.fail(Failure(description: "given up before it was looked up"))
      }
      promise.completeWith(Result(catching: body))
    }
    return promise.futureResult
  }

  private static func socketAddress(_ address: Address) -> SocketAddress? {
    address.bytes.withUnsafeBytes { bytes in
      switch address.family {
      case AF_INET where bytes.count >= MemoryLayout<sockaddr_in>.size:
        SocketAddress(bytes.loadUnaligned(as: sockaddr_in.self))
      case AF_INET6 where bytes.count >= MemoryLayout<sockaddr_in6>.size:
        SocketAddress(bytes.loadUnaligned(as: sockaddr_in6.self))
      default: nil
      }
    }
  }
}

/// SwiftNIO's resolver for one connection, which looks up both families at once.
final class ConnectionResolver: Resolver, Sendable {
  private let promise: EventLoopPromise<[SocketAddress]>
  private let isStarted = Atomic<Bool>(false)
  private let isCancelled = Atomic<Bool>(false)

  init(_ loop: any EventLoop) { promise = loop.makePromise() }

  func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
    addresses(of: host, port) { if case .v4 = $0 { true } else { false } }
  }

  func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
    addresses(of: host, port) { if case .v6 = $0 { true } else { false } }
  }

  func cancelQueries() { isCancelled.store(true, ordering: .relaxed) }

  private func addresses(
    of host: String, _ port: Int, where isWanted: @escaping @Sendable (SocketAddress) -> Bool
  ) -> EventLoopFuture<[SocketAddress]> {
    if !isStarted.exchange(true, ordering: .relaxed) {
      NameLookup.lookUp(
        host, port: UInt16(clamping: port),
        isCancelled: { [self] in isCancelled.load(ordering: .relaxed) }, promise)
    }
    return promise.futureResult.map { $0.filter(isWanted) }
  }
}

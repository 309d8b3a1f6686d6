import P2PFSCore
import Glibc
import Synchronization

/// A socket that listens on an address of this computer. Connections wait in its backlog until they are accepted.
///
/// It listens as soon as it is bound: otherwise the kernel would give the same port to another process that binds as we
/// do, and a Unix socket would look as if it had been left behind.
///
/// A Unix socket has mode 0600, and its file is removed with it, if it is still the same one.
final class ListeningSocket: Sendable {
  /// The reason why an address cannot be used.
  struct Failure: Error {
    /// The address and the reason, in a few words.
    let address: String
    let reason: String
    let number: Int32
  }

  /// The address for the user: `127.0.0.1:10100`, `[::1]:10100` or a path.
  let name: String
  /// The TCP port; 0 for a Unix socket.
  let port: UInt16
  private let file: (path: String, device: UInt64, inode: UInt64)?
  private let descriptor: Mutex<Int32>

  private init(_ descriptor: Int32, name: String, port: UInt16, file: (String, UInt64, UInt64)? = nil) {
    self.descriptor = Mutex(descriptor)
    self.name = name
    self.port = port
    self.file = file
  }

  deinit { release() }

  /// Listens on all addresses of `endpoint`: two for localhost, with the same port. May block for a name lookup.
  static func listen(at endpoint: Endpoint) throws(Failure) -> [ListeningSocket] {
    switch endpoint {
    case .unix(let path): return [try unix(path)]
    case .tcp(let host, let port):
      var last: Failure?
      for _ in 0..<(port == 0 ? Limits.Forward.portTries : 1) {
        do throws(Failure) {
          return try tcp(host, port: port)
        } catch {
          last = error
          // Any port will do, and this one was free at the first address only.
          guard error.number == EADDRINUSE else { throw error }
        }
      }
      throw last ?? Failure(address: endpoint.text, reason: "no free port", number: EADDRINUSE)
    }
  }

  /// Gives the descriptor away: its new owner closes it. `release` still removes the file.
  /// - Returns: nil if it was given away or released before.
  func giveAway() -> Int32? {
    descriptor.withLock { own in
      guard own >= 0 else { return nil }
      defer { own = -1 }
      return own
    }
  }

  /// Releases the address. May be called more than once.
  func release() {
    let isFirst = descriptor.withLock { own in
      if own >= 0 { close(own) }
      defer { own = ListeningSocket.released }
      return own != ListeningSocket.released
    }
    guard isFirst, let file else { return }
    var status = stat()
    guard lstat(file.path, &status) == 0, status.st_dev == file.device, status.st_ino == file.inode else { return }
    unlink(file.path)
  }

  private static let released: Int32 = -2

  // MARK: - TCP

  private static func tcp(_ host: String, port: UInt16) throws(Failure) -> [ListeningSocket] {
    let addresses: [NameLookup.Address]
    do {
      addresses =
        host == "*"
        ? try NameLookup.addresses(of: "0.0.0.0", port: port) + NameLookup.addresses(of: "::", port: port)
        : try NameLookup.addresses(of: host, port: port)
    } catch {
      throw Failure(address: host, reason: error.description, number: 0)
    }
    var sockets: [ListeningSocket] = []
    var missing: Failure?
    for address in addresses {
      do throws(Failure) {
        sockets.append(try tcp(address, port: sockets.first?.port ?? port))
      } catch {
        // A computer may lack one of the two families.
        guard error.number == EADDRNOTAVAIL || error.number == EAFNOSUPPORT else { throw error }
        missing = error
      }
    }
    guard !sockets.isEmpty else { throw missing ?? Failure(address: host, reason: "it has no address", number: 0) }
    return sockets
  }

  private static func tcp(_ address: NameLookup.Address, port: UInt16) throws(Failure) -> ListeningSocket {
    var bytes = address.bytes
    let name = { (port: UInt16) in describe(address, port: port) }
    // sin_port and sin6_port stand at the same place, in network byte order.
    (bytes[2], bytes[3]) = (UInt8(port >> 8), UInt8(port & 0xFF))
    let new = socket(address.family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard new >= 0 else { throw Failure(address: name(port), errno: errno) }
    var yes: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    // Connections of an earlier process in TIME_WAIT must not prevent listening.
    setsockopt(new, SOL_SOCKET, SO_REUSEADDR, &yes, size)
    // IPv4 addresses get a socket of their own.
    if address.family == AF_INET6 { setsockopt(new, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &yes, size) }
    var length = socklen_t(bytes.count)
    let result = bytes.withUnsafeMutableBytes { raw -> Int32 in
      // The array holds a sockaddr of this family and length, as returned by getaddrinfo.
      guard let base = raw.baseAddress else { return -1 }
      let pointer = base.assumingMemoryBound(to: sockaddr.self)
      guard Glibc.bind(new, pointer, length) == 0, Glibc.listen(new, Int32(Limits.Forward.backlog)) == 0 else {
        return -1
      }
      return getsockname(new, pointer, &length)
    }
    guard result == 0 else {
      let error = errno
      close(new)
      throw Failure(address: name(port), errno: error)
    }
    let taken = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    return ListeningSocket(new, name: name(taken), port: taken)
  }

  private static func describe(_ address: NameLookup.Address, port: UInt16) -> String {
    var bytes = address.bytes
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let length = socklen_t(bytes.count)
    let error = bytes.withUnsafeMutableBytes { raw -> Int32 in
      guard let base = raw.baseAddress else { return -1 }
      return getnameinfo(
        base.assumingMemoryBound(to: sockaddr.self), length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST)
    }
    guard error == 0 else { return "port \(port)" }
    let text = String(decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return address.family == AF_INET6 ? "[\(text)]:\(port)" : "\(text):\(port)"
  }

  // MARK: - Unix sockets

  private static func unix(_ path: String) throws(Failure) -> ListeningSocket {
    let new = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard new >= 0 else { throw Failure(address: path, errno: errno) }
    // On Linux the file of a socket gets the mode of the socket, less the umask: it is never open to others, not even
    // briefly.
    fchmod(new, 0o600)
    var error = listen(new, path)
    if error == EADDRINUSE, isStale(path) {
      _ = path.withPath { unlink($0) }
      error = listen(new, path)
    }
    var status = stat()
    if error == 0, path.withPath({ lstat($0, &status) }) != 0 { error = errno }
    guard error == 0 else {
      close(new)
      throw Failure(address: path, errno: error)
    }
    return ListeningSocket(new, name: path, port: 0, file: (path, UInt64(status.st_dev), UInt64(status.st_ino)))
  }

  /// Whether a socket file was left behind by a process that is gone. Any other file never is.
  private static func isStale(_ path: String) -> Bool {
    var status = stat()
    guard path.withPath({ lstat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return false }
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard probe >= 0 else { return false }
    defer { close(probe) }
    return withAddress(path) { connect(probe, $0, $1) != 0 && errno == ECONNREFUSED }
  }

  /// - Returns: an errno, or 0.
  private static func listen(_ descriptor: Int32, _ path: String) -> Int32 {
    withAddress(path) {
      Glibc.bind(descriptor, $0, $1) == 0 && Glibc.listen(descriptor, Int32(Limits.Forward.backlog)) == 0 ? 0 : errno
    }
  }

  private static func withAddress<R>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = path.pathBytes
    precondition(bytes.count <= Limits.Forward.socketPath, "an endpoint's path was checked")
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}

extension ListeningSocket.Failure {
  init(address: String, errno: Int32) {
    self.init(address: address, reason: String(cString: strerror(errno)), number: errno)
  }
}

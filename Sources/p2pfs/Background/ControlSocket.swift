import P2PFSCore
import Glibc
import Synchronization

/// The socket by which other commands of the same user speak with a mount that goes on in the background.
///
/// It lies in `$XDG_RUNTIME_DIR/p2pfs` (or a directory of the user's own under /run/user or /tmp), as
/// `mount-PID.sock`. A command connects and writes one line; the answer is lines until the end:
/// ```
/// where     -> the mount point
/// umount    -> "busy PROCESSES", or "waiting BYTES" as often as it changes, then "done" or "lost WHAT"
/// umount lazy -> as umount, but never busy
/// ```
enum ControlSocket {
  /// The directory of the sockets, made if it is not there. It must belong to the user and nobody else.
  static func directory() throws(Failure) -> String {
    let base = candidates[0]
    mkdir(base, 0o700)
    guard isPrivate(base) else {
      throw Failure(.failed, "\(base) is not a directory of yours alone; remove it and try again")
    }
    return base
  }

  /// Where the directory may be, the one to use now first: a mount may have been made with other variables set.
  private static var candidates: [String] {
    let bases = [Settings.environment("XDG_RUNTIME_DIR"), "/run/user/\(getuid())"]
    return bases.compactMap { base in
      guard let base, base.hasPrefix("/"), access(base, W_OK) == 0 else { return nil }
      return base + "/p2pfs"
    } + ["/tmp/p2pfs-\(getuid())"]
  }

  private static func isPrivate(_ directory: String) -> Bool {
    var status = stat()
    return lstat(directory, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == getuid()
      && status.st_mode & 0o077 == 0
  }

  /// A connection to the daemon of a mount; nil if none serves `mountpoint` (an absolute path).
  static func connect(toMountAt mountpoint: String) -> LineSocket? {
    let paths = candidates.filter(isPrivate).flatMap { directory in names(in: directory).map { directory + "/" + $0 } }
    for path in paths {
      guard let socket = LineSocket(connectingTo: path) else {
        if errno == ECONNREFUSED { unlink(path) }
        continue
      }
      // A process that is stopped answers nobody.
      socket.limitWait(seconds: 2)
      socket.stream.write("where")
      // Compared as bytes: strings that look the same are equal, but not the same mount.
      if let place = socket.next(), place.utf8.elementsEqual(mountpoint.utf8),
        let again = LineSocket(connectingTo: path)
      {
        return again
      }
    }
    return nil
  }

  private static func names(in directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name.hasPrefix("mount-"), name.hasSuffix(".sock") { names.append(name) }
    }
    return names.sorted()
  }

  /// Serves requests on a thread of its own until the process ends. `answer` is called with each request and a
  /// way to write lines; the connection closes when it returns.
  static func serve(_ answer: @escaping @Sendable (String, (String) -> Void) -> Void) throws(Failure) -> String {
    let path = try directory() + "/mount-\(getpid()).sock"
    unlink(path)
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard listener >= 0, var address = unixAddress(path),
      withUnsafeBytes(
        of: &address, { bind(listener, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) })
        == 0, listen(listener, 8) == 0
    else { throw Failure(.failed, "cannot make the control socket \(path): \(String(cString: strerror(errno)))") }
    Worker.detached("control") {
      while true {
        let connection = accept(listener, nil, nil)
        if connection < 0 {
          // Without descriptors for a moment.
          if errno != EINTR, errno != ECONNABORTED { usleep(100_000) }
          continue
        }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        Worker.detached("control") {
          let socket = LineSocket(connection)
          guard let request = socket.next() else { return }
          answer(request) { socket.stream.write($0) }
        }
      }
    }
    return path
  }
}

/// A connected socket that is closed with its last reference. Used by one thread at a time.
final class LineSocket: @unchecked Sendable {
  private let descriptor: Int32
  var stream: LineStream

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    stream = LineStream(descriptor)
  }

  /// nil with errno set if nobody listens.
  convenience init?(connectingTo path: String) {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0, var address = unixAddress(path) else { return nil }
    let result = withUnsafeBytes(of: &address) {
      Glibc.connect(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
    }
    guard result == 0 else {
      let error = errno
      close(descriptor)
      errno = error
      return nil
    }
    self.init(descriptor)
  }

  deinit { close(descriptor) }

  func next() -> String? { stream.next() }

  /// Has `next` return nil after this time without an answer.
  func limitWait(seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }
}

/// The address of a socket at `path`; nil if that is too long.
private func unixAddress(_ path: String) -> sockaddr_un? {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let bytes = Array(path.utf8)
  guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
    errno = ENAMETOOLONG
    return nil
  }
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
  return address
}

import P2PFSCore
import CP2PFSLinux
import Glibc

/// The process that goes on in the background, as its parent sees it.
///
/// `p2pfs mount` starts itself again as a process of its own and waits until that says how it went, over a
/// socket pair that is descriptor 3 of the child:
/// ```
/// parent -> child   the code, one line (so that it stands in no argument list and no environment; see `Arguments`)
/// child  -> parent  "say TEXT"  shown as it comes
///                   "ready TEXT"  shown, if there is any; the parent exits 0, the child goes on
///                   "failed STATUS TEXT"  shown; the parent exits with STATUS
/// ```
enum Daemon {
  /// The environment variable that tells a process it is the child.
  static let marker = "P2PFS_DAEMON"
  private static let descriptor: Int32 = 3

  /// Whether this process is the child.
  static var isChild: Bool { getenv(marker) != nil }

  /// Starts this program again with `arguments`, waits for its word, and returns the status to exit with.
  static func start(arguments: [String], code: String) throws(Failure) -> Int32 {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
      throw Failure(.failed, "cannot make a socket pair: \(String(cString: strerror(errno)))")
    }
    defer { close(pair[0]) }
    let child = try spawn(arguments, socket: pair[1])
    close(pair[1])
    // It is in a session of its own, where no Ctrl-C reaches it; it says how it ended, and so does this process.
    Signals.onFirst { _ in kill(child, SIGTERM) }
    var stream = LineStream(pair[0])
    stream.write(code)
    while let line = stream.next() {
      let (word, rest) = line.splitAtSpace
      switch word {
      case "say": Console.say(rest)
      case "ready":
        if !rest.isEmpty { Console.say(rest) }
        return ExitStatus.done.rawValue
      case "failed":
        let (status, text) = rest.splitAtSpace
        Console.say("p2pfs: " + text)
        return Int32(status) ?? ExitStatus.failed.rawValue
      default: break
      }
    }
    throw Failure(.failed, "the background process ended before it was ready; run with -f to see why")
  }

  private static func spawn(_ arguments: [String], socket: Int32) throws(Failure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, socket, descriptor)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(p2pfs_spawn_setsid()))
    var argv: [UnsafeMutablePointer<CChar>?] = (["p2pfs"] + arguments).map { $0.withPath { strdup($0) } } + [nil]
    var environment: [UnsafeMutablePointer<CChar>?] = [strdup("\(marker)=1")]
    var variable = Glibc.environ
    while let entry = variable.pointee {
      environment.append(strdup(entry))
      variable += 1
    }
    environment.append(nil)
    defer { for pointer in argv + environment { free(pointer) } }
    var process: pid_t = 0
    let error = posix_spawn(&process, "/proc/self/exe", &actions, &attributes, &argv, &environment)
    guard error == 0 else {
      throw Failure(.failed, "cannot start the background process: \(String(cString: strerror(error)))")
    }
    return process
  }

  /// The child's end: takes the code, and later says how it went.
  struct Parent {
    private var stream = LineStream(descriptor)
    /// The code that the parent was given.
    let code: String

    /// Reads the code. Call once, at the start.
    init() throws(Failure) {
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      guard let code = stream.next() else { throw Failure(.failed, "the parent process is gone") }
      self.code = code
    }

    /// Shows a line to the user while the parent waits.
    func say(_ text: String) { stream.write("say " + text) }

    /// The work is done: the parent exits 0, and from now on this process is on its own, without a terminal.
    func ready(_ text: String) {
      stream.write("ready " + text)
      let null = open("/dev/null", O_RDWR)
      dup2(null, STDOUT_FILENO)
      dup2(null, STDERR_FILENO)
      dup2(null, descriptor)
      if null > descriptor { close(null) }
      chdir("/")
    }

    /// It failed: the parent says so and exits with the status.
    func failed(_ failure: Failure) {
      stream.write("failed \(failure.status.rawValue) " + failure.message)
    }
  }
}

/// Lines over a socket, which it does not own, with names in them of any bytes (`String(pathBytes:)`): a line break
/// within a line travels as NUL, which no name has.
struct LineStream {
  private let descriptor: Int32
  private var buffer: [UInt8] = []

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// The next line without its end; nil at the end of the stream, or after 64 KiB without one.
  mutating func next() -> String? {
    while true {
      if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
        let line = String(pathBytes: buffer[..<end].map { $0 == 0 ? UInt8(ascii: "\n") : $0 })
        buffer.removeSubrange(...end)
        return line
      }
      guard buffer.count < 65_536 else { return nil }
      var chunk = [UInt8](repeating: 0, count: 4096)
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return nil }
      buffer += chunk[..<count]
    }
  }

  /// Writes a line.
  func write(_ line: String) {
    let bytes = line.pathBytes.map { $0 == UInt8(ascii: "\n") ? 0 : $0 } + [UInt8(ascii: "\n")]
    _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
  }
}

import Rig
import CP2PFSLinux
import P2PFSCore
import Glibc

/// What a command printed and how it ended.
struct Outcome: CustomStringConvertible {
  /// The exit status; the signal's number, negative, if a signal ended it.
  let status: Int32
  let output: String
  let errors: String

  var description: String { "status \(status)\n--- output\n\(output)\n--- errors\n\(errors)" }
}

/// Something in the stage that went wrong, told in full: what a test's failure shows.
struct StageError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// A child process in a session of its own, without a terminal and with its output in files, so that nothing ever waits on a pipe.
final class Child {
  let pid: pid_t
  let arguments: [String]
  private let outputPath: String
  private let errorsPath: String
  private(set) var status: Int32?

  /// Starts `arguments[0]`, found in PATH, with standard input from /dev/null.
  /// - Parameter record: where its output goes: this path with `.out` and `.err` behind it.
  init(_ arguments: [String], environment: [String: String], directory: String, record: String) throws {
    self.arguments = arguments
    outputPath = record + ".out"
    errorsPath = record + ".err"

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, outputPath, flags, 0o666)
    posix_spawn_file_actions_addopen(&actions, 2, errorsPath, flags, 0o666)
    // A daemon must not keep the test runner's own files open.
    for descriptor in Int32(3)..<256 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }

    // The test runner may have signals blocked or ignored; a terminal's child has not.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(
      &attributes, Int16(Int32(p2pfs_spawn_setsid()) | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    var argv = (["env", "-C", directory, "--"] + arguments).map { strdup($0) } + [nil]
    var envp = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var child: pid_t = 0
    let error = posix_spawnp(&child, "env", &actions, &attributes, &argv, &envp)
    guard error == 0 else { throw StageError("cannot start \(arguments): \(String(cString: strerror(error)))") }
    pid = child
  }

  deinit {
    if status == nil { stop() }
  }

  /// What it has printed so far.
  var output: String { contents(of: outputPath) }
  var errors: String { contents(of: errorsPath) }
  var isRunning: Bool { poll() == nil }

  /// The status if it has ended.
  func poll() -> Int32? {
    if let status { return status }
    var raw: Int32 = 0
    guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
    let signal = raw & 0x7f
    // Not 128 + signal, as shells have it: dying of SIGINT and exiting with 130 after it are not the same.
    status = signal == 0 ? (raw >> 8) & 0xff : -signal
    return status
  }

  /// Waits for its end; kills it and fails if it is not over after `seconds`.
  func wait(seconds: Double) throws -> Outcome {
    if !eventually(within: seconds, { poll() != nil }) {
      stop()
      throw StageError("not over after \(seconds) s: \(arguments)\n--- output\n\(output)\n--- errors\n\(errors)")
    }
    return Outcome(status: status ?? -99, output: output, errors: errors)
  }

  /// Sends a signal to the process and what it started in its group, as a terminal does.
  func signal(_ signal: Int32) { Glibc.kill(-pid, signal) }

  /// Kills the group and collects the process. Gives up on one that not even SIGKILL ends.
  func stop() {
    signal(SIGKILL)
    _ = eventually(within: 5) { poll() != nil }
  }

  /// Waits until a line of its output or errors holds `text`, and returns that line.
  func line(with text: String, seconds: Double) throws -> String {
    var found: String?
    _ = eventually(within: seconds) {
      found = lines.first { $0.contains(text) }
      return found != nil || !isRunning
    }
    found = found ?? lines.first { $0.contains(text) }
    guard let found else {
      throw StageError(
        "no line with “\(text)” from \(arguments) (\(isRunning ? "running" : "status \(status ?? -1)"))\n--- output\n"
          + "\(output)\n--- errors\n\(errors)")
    }
    return found
  }

  /// All lines that it has printed: output first, then errors.
  var lines: [String] {
    output.split(separator: "\n").map(String.init) + errors.split(separator: "\n").map(String.init)
  }
}

/// The text of a local file; empty if there is none. Never of a file on a mount: that may block.
func contents(of path: String) -> String {
  String(decoding: bytes(of: path), as: UTF8.self)
}

/// The bytes of a local file; empty if there is none.
func bytes(of path: String) -> [UInt8] {
  let file = open(path, O_RDONLY)
  guard file >= 0 else { return [] }
  defer { close(file) }
  var all: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(file, &buffer, buffer.count)
    guard count > 0 else { return all }
    all += buffer[..<count]
  }
}

import Rig
import Glibc
import Testing

/// One of the computers of a test: a home of its own, on this machine's network or in a network namespace.
final class Computer {
  let name: String
  /// Its home directory.
  let home: String
  private unowned let stage: Stage
  private let namespace: String?
  private let user: User?
  private(set) var children: [Child] = []

  static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  init(_ name: String, in stage: Stage, namespace: String?, user: User?) throws {
    self.name = name
    self.stage = stage
    self.namespace = namespace
    self.user = user
    home = "\(stage.directory)/\(name)"
    mkdir(home, 0o755)
    mkdir(home + "/.run", 0o700)
    if let user {
      chown(home, user.id, user.group)
      chown(home + "/.run", user.id, user.group)
    }
  }

  /// The program as this computer's user can run it: the build's directory may be closed to others.
  private lazy var program: String = {
    guard user != nil else { return Stage.program }
    let copy = "\(stage.directory)/bin"
    mkdir(copy, 0o755)
    let path = copy + "/p2pfs"
    if access(path, X_OK) != 0 {
      let copying = try? Child(
        ["install", "-m", "755", Stage.program, path], environment: ["PATH": Computer.searchPath], directory: "/",
        record: stage.directory + "/install")
      _ = try? copying?.wait(seconds: 30)
    }
    return path
  }()

  // MARK: - Running things

  /// Starts a command.
  func start(_ arguments: [String], environment: [String: String] = [:]) throws -> Child {
    var all = [
      "PATH": Computer.searchPath, "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb", "XDG_RUNTIME_DIR": home + "/.run",
      "P2PFS_TEST": stage.mark, "P2PFS_TEST_COMPUTER": name, "GIT_CONFIG_NOSYSTEM": "1",
    ]
    if let libraries = getenv("LD_LIBRARY_PATH") { all["LD_LIBRARY_PATH"] = String(cString: libraries) }
    if let user { all["USER"] = user.name }
    all.merge(environment) { $1 }
    var command = arguments
    if let user {
      command = ["setpriv", "--reuid=\(user.id)", "--regid=\(user.group)", "--clear-groups", "--"] + command
    }
    // Not “ip netns exec”: a mount made inside that cannot be seen outside.
    if let namespace { command = ["nsenter", "--net=/run/netns/\(namespace)"] + command }
    let child = try Child(
      command, environment: all, directory: home, record: "\(stage.directory)/\(name)-\(children.count)")
    children.append(child)
    return child
  }

  /// Runs a command to its end.
  func run(_ arguments: [String], environment: [String: String] = [:], seconds: Double = 60) throws -> Outcome {
    try start(arguments, environment: environment).wait(seconds: seconds)
  }

  /// Starts the program.
  func startP2PFS(_ arguments: [String], environment: [String: String] = [:]) throws -> Child {
    try start([program] + arguments, environment: environment)
  }

  /// Runs the program to its end.
  func p2pfs(_ arguments: String..., environment: [String: String] = [:], seconds: Double = 45) throws -> Outcome {
    try start([program] + arguments, environment: environment).wait(seconds: seconds)
  }

  /// Runs a shell script in the home directory, which must succeed: any command of it that fails ends it.
  /// `variables` are its environment, so that no path needs quoting. Returns what it printed.
  @discardableResult
  func shell(
    _ script: String, _ variables: [String: String] = [:], seconds: Double = 60,
    at location: SourceLocation = #_sourceLocation
  ) throws -> String {
    let outcome = try run(["bash", "-euo", "pipefail", "-c", script], environment: variables, seconds: seconds)
    guard outcome.status == 0 else {
      throw StageError("line \(location.line): the script ended with \(outcome)\n--- script\n\(script)")
    }
    return outcome.output
  }

  // MARK: - Sharing and mounting

  /// Makes a directory in the home.
  func makeDirectory(_ name: String) -> String {
    let path = "\(home)/\(name)"
    mkdir(path, 0o755)
    if let user { chown(path, user.id, user.group) }
    return path
  }

  /// Exports a directory, and waits until others may mount it.
  func export(_ directory: String, _ options: String..., environment: [String: String] = [:]) throws -> Exporter {
    try Exporter(startP2PFS(["export", directory] + options, environment: environment))
  }

  /// Mounts `code` on a new directory of the home and expects that it works.
  /// Returns the mount point and what the program said of the way to the peer.
  func mount(
    _ code: String, on name: String = "mnt", _ options: [String] = [], seconds: Double = 45
  ) throws -> Mounted {
    let point = makeDirectory(name)
    let outcome = try startP2PFS(["mount", code, point] + options).wait(seconds: seconds)
    guard outcome.status == 0 else { throw StageError("mount failed: \(outcome)") }
    guard isMounted(point) else { throw StageError("mount exited 0, but nothing is mounted: \(outcome)") }
    return Mounted(point: point, message: outcome.errors)
  }

  /// Whether a TCP server listens at `port`, as the kernel's tables of the computer's network say.
  func isListening(port: Int) -> Bool {
    guard let outcome = try? run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]) else { return false }
    let hexadecimal = String(port, radix: 16, uppercase: true)
    let suffix = ":" + String(repeating: "0", count: 4 - hexadecimal.count) + hexadecimal
    return outcome.output.split(separator: "\n").contains { line in
      let fields = line.split(separator: " ")
      return fields.count > 3 && fields[1].hasSuffix(suffix) && fields[3] == "0A"
    }
  }

  /// Whether something is mounted there, as the kernel's table says, without touching it.
  func isMounted(_ point: String) -> Bool { stage.mounts().contains(point) }

  /// Unmounts and expects that nothing was lost.
  func unmount(_ mounted: Mounted) throws {
    let outcome = try p2pfs("umount", mounted.point)
    guard outcome.status == 0, !isMounted(mounted.point) else {
      throw StageError("umount of \(mounted.point): \(outcome)")
    }
  }

  /// The processes of the program that run on this computer.
  var programs: [RunningProcess] { stage.processes(of: name).filter(\.isProgram) }

  /// Unmounts what is mounted here and ends what runs in front, expecting that all of it goes well.
  func leave() {
    for point in stage.mounts() where point.hasPrefix(home + "/") {
      do {
        let outcome = try p2pfs("umount", point)
        #expect(outcome.status == 0, "umount at the end: \(outcome)")
      } catch { Issue.record(error) }
    }
    for child in children where child.isRunning {
      child.signal(SIGINT)
      if !eventually(within: 10, { !child.isRunning }) {
        Issue.record("SIGINT does not end \(child.arguments)")
        child.stop()
      }
    }
  }
}

/// A mounted export.
struct Mounted {
  let point: String
  /// What `p2pfs mount` said.
  let message: String
  /// Whether the way to the peer goes through a relay.
  var isRelayed: Bool { message.contains("relayed") }
  var isDirect: Bool { message.contains("direct") }
}

/// A running `p2pfs export`.
final class Exporter {
  let child: Child

  init(_ child: Child) throws {
    self.child = child
    _ = try child.line(with: "p2pfs mount ", seconds: 20)
  }

  /// The codes it has shown so far, oldest first: each with the server, as the other side types it.
  var codes: [String] {
    child.output.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ").map(String.init)
      guard let verb = words.firstIndex(of: "mount"), verb > 0, words[verb - 1] == "p2pfs" else { return nil }
      return words.dropFirst(verb + 1).first
    }
  }

  /// The code that holds now.
  var code: String { codes.last ?? "" }

  /// The code with a path of the export behind it.
  func code(path: String) -> String { "\(code):\(path)" }

  /// The code with a secret that is as well formed as the right one, and wrong.
  var wrongCode: String {
    let (secret, server) = split(code)
    let words = secret.split(separator: "-").map(String.init)
    let other = words.last == "babad" ? "dadab" : "babad"
    return (words.dropLast() + [other]).joined(separator: "-") + server
  }

  /// The code in a room where nobody is.
  var codeOfEmptyRoom: String {
    let (secret, server) = split(code)
    let words = secret.split(separator: "-").map(String.init)
    let room = words.first == "100001" ? "100002" : "100001"
    return ([room] + words.dropFirst()).joined(separator: "-") + server
  }

  private func split(_ code: String) -> (code: String, server: String) {
    guard let at = code.firstIndex(of: "@") else { return (code, "") }
    return (String(code[..<at]), String(code[at...]))
  }

  /// Ends it as Ctrl-C does. Returns its exit status.
  @discardableResult
  func interrupt() throws -> Int32 {
    child.signal(SIGINT)
    return try child.wait(seconds: 10).status
  }
}

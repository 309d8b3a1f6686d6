import Rig
import Glibc
import Synchronization
import Testing

/// Two homes behind two NATs, and the Internet between them (Tests/Lab/lab.sh).
struct Lab {
  /// What stands between a home and the Internet.
  enum NAT: String {
    case cone, symmetric, udpblocked, open
  }

  static let server = "198.51.100.10"
  static let secret = "a secret of the relay"

  let stage: Stage
  /// The computer behind NAT A, the one behind NAT B, and the one in the Internet between them.
  let a: Computer
  let b: Computer
  let net: Computer
  private let prefix: String
  private let variables: [String: String]

  /// Runs a test in a lab of its own, and takes it down afterwards.
  static func run(
    _ natA: NAT, _ natB: NAT, roundTripMilliseconds: Int = 40, megabits: Int = 200, _ body: (Lab) throws -> Void
  ) throws {
    // Several labs stand side by side.
    let prefix = "e2e\(getpid() % 10_000)-\(labs.wrappingAdd(1, ordering: .relaxed).newValue)-"
    defer {
      let names = contentsOfDirectory("/run/netns").filter { $0.hasPrefix(prefix) }
      if !names.isEmpty { Issue.record("network namespaces left behind: \(names)") }
    }
    try Stage.run(hasNetwork: false) { stage in
      let machine = try stage.computer("machine")
      let variables = [
        "LAB_PREFIX": prefix, "LAB_STATE": stage.directory + "/lab", "LAB_WAN": Stage.products + "/lab-wan",
      ]
      let up = try machine.run(
        ["bash", script, "up", "\(roundTripMilliseconds)", "\(megabits)", "0", natA.rawValue, natB.rawValue],
        environment: variables, seconds: 30)
      defer { _ = try? machine.run(["bash", script, "down"], environment: variables, seconds: 30) }
      guard up.status == 0 else { throw StageError("the lab does not come up: \(up)") }
      let lab = Lab(
        stage: stage, a: try stage.computer("a", namespace: prefix + "a"),
        b: try stage.computer("b", namespace: prefix + "b"),
        net: try stage.computer("net", namespace: prefix + "net"), prefix: prefix, variables: variables)
      try body(lab)
      for computer in [lab.b, lab.a, lab.net] { computer.leave() }
    }
  }

  private static let labs = Atomic<Int>(0)

  private static let script: String = {
    // This file is Tests/EndToEndTests/Lab.swift.
    #filePath.split(separator: "/").dropLast(2).map { "/\($0)" }.joined() + "/Lab/lab.sh"
  }()

  /// Starts `p2pfs signal` in the Internet, with a relay if `relay` gives one's address.
  @discardableResult
  func signal(relay: String? = nil, port: Int = 11_985) throws -> Child {
    let options = relay.map { ["--turn", $0, "--turn-secret", Lab.secret] } ?? []
    let child = try net.startP2PFS(["signal", "--listen", "\(Lab.server):\(port)"] + options)
    guard eventually(within: 10, { net.isListening(port: port) }) else {
      throw StageError("the signaling server does not listen: \(child.lines)")
    }
    return child
  }

  /// Starts Debian's TURN server in the Internet.
  func relay() throws {
    let child = try net.start([
      "turnserver", "-n", "--use-auth-secret", "--static-auth-secret", Lab.secret, "--realm", "p2pfs.example",
      "--listening-ip", Lab.server, "--relay-ip", Lab.server, "--no-cli", "--no-tls", "--no-dtls", "--log-file",
      "stdout",
      "--pidfile", net.home + "/turnserver.pid", "--db", net.home + "/turndb",
    ])
    guard eventually(within: 15, { net.isListening(port: 3478) }) else {
      throw StageError("turnserver does not listen: \(child.lines)")
    }
  }

  /// Exports a directory of A through the signaling server in the Internet.
  func export(_ directory: String) throws -> Exporter {
    try a.export(directory, "--signal", "ws://\(Lab.server):11985")
  }

  /// Exports a directory of A, mounts it at B, and gives both to a test. The code must lead to the server.
  func pair(mount options: [String] = [], _ body: (Pair) throws -> Void) throws {
    let export = a.makeDirectory("export")
    let exporter = try self.export(export)
    let mounted = try b.mount(exporter.code, on: "mnt", ["--signal", "ws://\(Lab.server):11985"] + options)
    try body(Pair(stage: stage, a: a, b: b, export: export, exporter: exporter, mounted: mounted))
  }

  /// Runs a command of the lab.
  func lab(_ arguments: String...) throws {
    let outcome = try stage.computer("machine-\(arguments[0])").run(
      ["bash", Lab.script] + arguments, environment: variables, seconds: 60)
    guard outcome.status == 0 else { throw StageError("lab.sh \(arguments): \(outcome)") }
  }
}

/// The names in a directory; none if it is not there.
func contentsOfDirectory(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}

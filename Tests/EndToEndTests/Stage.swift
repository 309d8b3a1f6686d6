import Rig
import Glibc
import Testing

/// The files, processes and mounts of one test, and the promise that none of them outlives it.
///
/// Everything that a test starts carries the stage's mark in its environment, so that daemons are found
/// wherever they put themselves, and nobody else's process is ever touched.
final class Stage {
  /// Where everything of this test lies.
  let directory: String
  /// The value of `P2PFS_TEST` in the environment of all that belongs to this test.
  let mark: String
  /// The network namespace in which its computers stand unless they are given another: nobody else takes a port there.
  private var network: String?
  private var computers: [Computer] = []

  private init() throws {
    guard geteuid() == 0 else { throw StageError("these tests make mounts and network namespaces: run them as root") }
    guard access("/dev/fuse", R_OK | W_OK) == 0 else {
      throw StageError("/dev/fuse is missing: no mount can be tested")
    }
    guard access(Stage.program, X_OK) == 0 else {
      throw StageError("\(Stage.program) is not built: run swift build first")
    }
    var template = Array("/tmp/p2pfs-e2e-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw StageError("cannot make a directory in /tmp") }
    directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    chmod(directory, 0o755)
    mark = String(directory.split(separator: "/").last ?? "")
  }

  /// The directory of the build products: the test bundle's own.
  static let products: String = {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    let path = String(decoding: buffer[..<max(length, 0)].map(UInt8.init(bitPattern:)), as: UTF8.self)
    return path.split(separator: "/").dropLast().map { "/\($0)" }.joined()
  }()

  /// The program under test.
  static let program = products + "/p2pfs"

  /// Runs a test with a stage of its own; afterwards ends politely what still runs, and fails if anything is left.
  /// `hasNetwork`: whether its computers share a network, which is not this machine's.
  static func run(hasNetwork: Bool = true, _ body: (Stage) throws -> Void) throws {
    let stage = try Stage()
    if hasNetwork { try stage.makeNetwork() }
    do {
      try body(stage)
      for computer in stage.computers.reversed() { computer.leave() }
    } catch {
      stage.complain("what the programs said")
      stage.clear()
      throw error
    }
    stage.expectNothingLeft()
    stage.clear()
  }

  /// A computer with a home of its own. `namespace`: the network namespace it stands in.
  func computer(_ name: String, namespace: String? = nil, user: User? = nil) throws -> Computer {
    let computer = try Computer(name, in: self, namespace: namespace ?? network, user: user)
    computers.append(computer)
    return computer
  }

  /// One interface, with an address that is documented to be nobody's, and a route to nowhere.
  private func makeNetwork() throws {
    network = mark
    let outcome = tool([
      "sh", "-ec",
      """
      ip netns add \(mark)
      ip netns exec \(mark) sh -ec 'ip link set lo up; ip link add eth0 type veth peer name wire
        ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip link set wire up; ip route add default via 192.0.2.1'
      """,
    ])
    guard outcome?.status == 0 else {
      clear()
      throw StageError("no network namespace: \(String(describing: outcome))")
    }
  }

  /// Runs a tool of the system, which leaves nothing in the stage.
  private func tool(_ arguments: [String]) -> Outcome? {
    let record = "/dev/shm/\(mark)-tool"
    defer { for end in [".out", ".err"] { unlink(record + end) } }
    let child = try? Child(
      arguments, environment: ["PATH": Computer.searchPath], directory: "/", record: record)
    return try? child?.wait(seconds: 60)
  }

  /// Processes with the stage's mark that have not ended.
  func processes(of computer: String? = nil) -> [RunningProcess] {
    RunningProcess.all(marked: "P2PFS_TEST=\(mark)", and: computer.map { "P2PFS_TEST_COMPUTER=\($0)" })
  }

  /// Mount points that lie in the stage's directory, innermost first.
  func mounts() -> [String] {
    contents(of: "/proc/self/mounts").split(separator: "\n")
      .compactMap { $0.split(separator: " ").dropFirst().first.map(String.init) }
      .filter { $0.hasPrefix(directory + "/") }.reversed()
  }

  private func expectNothingLeft() {
    _ = eventually(within: 5) { self.processes().isEmpty && self.mounts().isEmpty }
    let (processes, mounts) = (self.processes(), self.mounts())
    if processes.isEmpty, mounts.isEmpty { return }
    Issue.record("left behind: processes \(processes.map(\.description)), mounts \(mounts)")
    complain("what the programs said")
  }

  /// Shows what every command of this test printed.
  private func complain(_ title: String) {
    var text = "---- \(title), in order\n"
    for computer in computers {
      for child in computer.children where child.arguments.contains(where: { $0.hasSuffix("/p2pfs") }) {
        text +=
          "\(computer.name)$ \(child.arguments.joined(separator: " ")) → \(child.poll().map(String.init) ?? "running")\n"
        for line in child.lines.suffix(60) { text += "    \(line)\n" }
      }
    }
    _ = text.withCString { write(2, $0, strlen($0)) }
  }

  /// Takes everything away, by force.
  private func clear() {
    for process in processes() { kill(process.pid, SIGKILL) }
    for computer in computers { for child in computer.children { child.stop() } }
    for mount in mounts() { umount2(mount, Int32(MNT_DETACH)) }
    if let network { _ = tool(["ip", "netns", "del", network]) }
    guard mounts().isEmpty else { return }
    _ = tool(["rm", "-rf", "--one-file-system", directory])
  }
}

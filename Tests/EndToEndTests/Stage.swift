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
  static func run(_ body: (Stage) throws -> Void) throws {
    let stage = try Stage()
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
    let computer = try Computer(name, in: self, namespace: namespace, user: user)
    computers.append(computer)
    return computer
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
    guard mounts().isEmpty else { return }
    let removal = try? Child(
      ["rm", "-rf", "--one-file-system", directory], environment: ["PATH": Computer.searchPath], directory: "/",
      record: "/dev/shm/\(mark)-rm")
    _ = try? removal?.wait(seconds: 60)
    unlink("/dev/shm/\(mark)-rm.out")
    unlink("/dev/shm/\(mark)-rm.err")
  }
}

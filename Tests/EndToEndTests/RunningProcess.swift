import Glibc

/// A process of this machine, as /proc tells of it.
struct RunningProcess: CustomStringConvertible {
  let pid: pid_t
  let arguments: [String]
  /// One letter, as in proc(5): D is an uninterruptible wait.
  let state: Character

  var description: String { "\(pid) (\(state)) \(arguments.joined(separator: " "))" }

  /// Whether it is the program under test.
  var isProgram: Bool { arguments.first?.split(separator: "/").last == "p2pfs" }

  /// The living processes whose environment holds `mark`, and `other` too if given. Zombies do not count.
  static func all(marked mark: String, and other: String? = nil) -> [RunningProcess] {
    guard let directory = opendir("/proc") else { return [] }
    defer { closedir(directory) }
    var found: [RunningProcess] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      guard let pid = pid_t(name) else { continue }
      let environment = bytes(of: "/proc/\(pid)/environ").split(separator: 0).map {
        String(decoding: $0, as: UTF8.self)
      }
      guard environment.contains(mark), other.map(environment.contains) ?? true, let process = RunningProcess(pid),
        process.state != "Z", process.state != "X"
      else { continue }
      found.append(process)
    }
    return found.sorted { $0.pid < $1.pid }
  }

  /// The process `pid`; nil if there is none.
  init?(_ pid: pid_t) {
    // The name in parentheses may hold anything; the state follows the last parenthesis.
    let status = contents(of: "/proc/\(pid)/stat")
    guard let end = status.lastIndex(of: ")"), let state = status[end...].dropFirst(2).first else { return nil }
    self.pid = pid
    self.state = state
    arguments = bytes(of: "/proc/\(pid)/cmdline").split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }
}

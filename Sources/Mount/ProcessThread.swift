import CP2PFSLinux
import Glibc

/// A thread that waits for an answer of the filesystem, as proc_pid_status(5) and proc_pid_stat(5) show it.
struct ProcessThread {
  /// Signals whose default action is not the end of the process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
  private static let harmless: UInt64 = [SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH]
    .reduce(0) { $0 | 1 << UInt64($1 - 1) }

  private let id: Int32

  /// The thread of that number; 0 if it is in a namespace where we cannot see it.
  init(_ id: Int32) { self.id = id }

  /// Whether it can be looked at.
  var isVisible: Bool { id > 0 }

  /// Whether it was killed, or is about to be: it will never see an answer.
  var isDying: Bool {
    guard let flags else { return true }
    if flags & 0x400 != 0 { return true }  // PF_SIGNALED
    guard let text = read("status") else { return true }
    return ProcessThread.isFatal(status: text)
  }

  /// Whether it is on its way out, and takes no signals (PF_EXITING).
  var isExiting: Bool { flags.map { $0 & 0x4 != 0 } ?? true }

  /// Whether a process with this /proc/PID/status has a signal pending that ends it: SIGKILL, which the kernel also
  /// makes of others that are fatal, or one that is neither blocked, ignored nor caught, and dumps core.
  static func isFatal(status: String) -> Bool {
    var masks: [Substring: UInt64] = [:]
    for line in status.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, parts[0].hasPrefix("Sig") || parts[0] == "ShdPnd" else { continue }
      masks[parts[0]] = UInt64(parts[1].drop { $0 == "\t" || $0 == " " }, radix: 16)
    }
    let pending = (masks["SigPnd"] ?? 0) | (masks["ShdPnd"] ?? 0)
    if pending & (1 << UInt64(SIGKILL - 1)) != 0 { return true }
    let survived = (masks["SigBlk"] ?? 0) | (masks["SigIgn"] ?? 0) | (masks["SigCgt"] ?? 0) | harmless
    return pending & ~survived != 0
  }

  /// The flags of the task; nil if it is gone.
  private var flags: UInt64? {
    guard let text = read("stat"), let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 6 ? UInt64(fields[6]) ?? 0 : 0
  }

  /// How many bytes the write(2) or pwrite(2) that it is in has in all; nil if it is in another call, or does not let
  /// itself be looked at (proc_pid_syscall(5) asks for the right to trace).
  var writeCount: Int? {
    guard isVisible, let text = read("syscall") else { return nil }
    let fields = text.split(separator: " ")
    guard fields.count > 3, let number = Int(fields[0]),
      number == Int(p2pfs_write_number()) || number == Int(p2pfs_pwrite_number()),
      fields[3].hasPrefix("0x")
    else { return nil }
    return Int(fields[3].dropFirst(2), radix: 16)
  }

  private func read(_ file: String) -> String? {
    guard let stream = fopen("/proc/\(id)/\(file)", "re") else { return nil }
    defer { fclose(stream) }
    var text = [UInt8](repeating: 0, count: 8192)
    let count = fread(&text, 1, text.count, stream)
    return count > 0 ? String(decoding: text[..<count], as: UTF8.self) : nil
  }
}

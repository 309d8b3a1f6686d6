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

  /// How many threads of this computer, but for those given, are about to die and wait in the kernel where no signal
  /// reaches them, as for a lock. Takes some 10 µs for each thread there is.
  static func stuck(except threads: Set<Int32>) -> Int {
    var count = 0
    for process in numbers(in: "/proc") {
      for thread in numbers(in: "/proc/\(process)/task") where !threads.contains(thread) {
        if ProcessThread(thread).isStuck { count += 1 }
      }
    }
    return count
  }

  /// See `stuck`.
  var isStuck: Bool {
    guard let stat = read("stat"), ProcessThread.isBlocked(stat: stat), let status = read("status"),
      ProcessThread.isFatal(status: status)
    else { return false }
    // Whoever waits for an answer of a filesystem like this one gets it from that.
    return read("wchan") != "request_wait_answer"
  }

  /// Whether a thread with this /proc/PID/stat sleeps where no signal reaches it (`D`), and is none of the kernel's
  /// (PF_KTHREAD).
  static func isBlocked(stat: String) -> Bool {
    guard let end = stat.lastIndex(of: ")") else { return false }
    let fields = stat[stat.index(after: end)...].split(separator: " ")
    return fields.count > 6 && fields[0] == "D" && (UInt64(fields[6]) ?? 0) & 0x20_0000 == 0
  }

  private static func numbers(in directory: String) -> [Int32] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var numbers: [Int32] = []
    while let entry = readdir(stream) {
      let number = withUnsafePointer(to: &entry.pointee.d_name) { name in
        name.withMemoryRebound(to: CChar.self, capacity: 256) { atoi($0) }
      }
      if number > 0 { numbers.append(number) }
    }
    return numbers
  }

  /// The flags of the task; nil if it is gone.
  private var flags: UInt64? {
    guard let text = read("stat"), let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 6 ? UInt64(fields[6]) ?? 0 : 0
  }

  /// How many bytes the write(2), writev(2) or the like that it is in has in all; nil if it is in another call, or does
  /// not let itself be looked at (proc_pid_syscall(5) asks for the right to trace).
  var writeCount: Int? {
    guard isVisible, let text = read("syscall") else { return nil }
    let fields = text.split(separator: " ")
    guard fields.count > 3, let number = Int(fields[0]), fields[2].hasPrefix("0x"), fields[3].hasPrefix("0x"),
      let address = UInt64(fields[2].dropFirst(2), radix: 16), let count = Int(fields[3].dropFirst(2), radix: 16)
    else { return nil }
    if p2pfs_writes(number) != 0 { return count }
    guard p2pfs_writes_vectors(number) != 0 else { return nil }
    let total = p2pfs_vector_bytes(id, address, UInt(bitPattern: count))
    return total < 0 ? nil : Int(total)
  }

  /// Whether it is in a system call that makes a name, such as mkdir(2), for which the kernel does not look up again after
  /// ESTALE; yes, too, if it does not let itself be looked at.
  var isMakingName: Bool {
    guard isVisible, let number = read("syscall")?.split(separator: " ").first.flatMap({ Int($0) }) else { return true }
    return p2pfs_makes_name(number) != 0
  }

  /// Whether it is in a system call that opens a file; no, too, if it does not let itself be looked at.
  var isOpening: Bool {
    guard isVisible, let number = read("syscall")?.split(separator: " ").first else { return false }
    return Int(number).map { p2pfs_opens($0) != 0 } ?? false
  }

  /// Whether it is in a system call that changes attributes of a file which it names by a path; no, too, if it does not
  /// let itself be looked at.
  var isInCallWithPath: Bool {
    guard isVisible, let text = read("syscall") else { return false }
    let fields = text.split(separator: " ")
    guard fields.count > 5, let number = Int(fields[0]) else { return false }
    if p2pfs_changes_by_path(number) != 0 { return true }
    guard p2pfs_may_change_by_path(number) != 0 else { return false }
    // futimens(3) gives no path; AT_EMPTY_PATH, in the last argument, goes with an empty one.
    let flags = number == Int(SYS_fchownat) ? fields[5] : fields[4]
    return fields[2] != "0x0" && (Int(flags.dropFirst(2), radix: 16) ?? 0x1000) & 0x1000 == 0
  }

  /// Whether it is in a system call that uses a file which it has open, as fstat(2); no, too, if it does not let itself be
  /// looked at.
  var isUsingDescriptor: Bool {
    guard isVisible, let text = read("syscall") else { return false }
    let fields = text.split(separator: " ")
    guard fields.count > 6, let number = Int(fields[0]) else { return false }
    let answer = Int(p2pfs_uses_descriptor(number))
    guard answer < 0 else { return answer > 0 }
    // As glibc has fstat(3).
    return (Int(fields[-answer].dropFirst(2), radix: 16) ?? 0) & 0x1000 != 0
  }

  private func read(_ file: String) -> String? {
    guard let stream = fopen("/proc/\(id)/\(file)", "re") else { return nil }
    defer { fclose(stream) }
    var text = [UInt8](repeating: 0, count: 8192)
    let count = fread(&text, 1, text.count, stream)
    return count > 0 ? String(decoding: text[..<count], as: UTF8.self) : nil
  }
}

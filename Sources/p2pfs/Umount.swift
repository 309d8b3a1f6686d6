import ArgumentParser
import CLinux
import Glibc

/// `p2pfs umount`.
struct Umount: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Unmount a folder that p2pfs has mounted.",
    discussion: """
      While the other computer can be reached, waits for what is not yet written there. If it cannot, says what is \
      lost, unmounts all the same, and exits with 1. Also clears a mount point whose process has died.
      """)

  @Argument(help: "Where it is mounted.")
  var mountpoint: String

  func run() throws {
    do {
      try unmount(MountPoint(mountpoint))
    } catch {
      throw ExitCode(Console.report(error))
    }
  }

  private func unmount(_ mountpoint: MountPoint) throws(Failure) {
    guard mountpoint.isMounted else { throw Failure(.failed, "nothing is mounted on \(mountpoint.path)") }
    guard mountpoint.isP2PFS else {
      throw Failure(.failed, "what is mounted on \(mountpoint.path) is not of p2pfs; use umount(8)")
    }
    guard let daemon = try ControlSocket.connect(toMountAt: mountpoint.path) else {
      // Its process has died, or is of another user.
      try mountpoint.detach()
      return
    }
    daemon.stream.write("umount")
    var lost: String?
    while let line = daemon.next() {
      let (word, rest) = line.splitAtSpace
      switch word {
      case "waiting": Console.say("Waiting for \(rest) to be written on the other computer…")
      case "busy": throw Failure(.failed, "\(mountpoint.path) is in use: \(rest)")
      case "lost": lost = rest
      default: break
      }
    }
    // The process ends right after its last word.
    for _ in 0..<100 where mountpoint.isMounted { usleep(50_000) }
    if mountpoint.isMounted { try mountpoint.detach() }
    if let lost { throw Failure(.failed, "unmounted, but lost: \(Console.escaped(lost))") }
  }
}

/// A place where something may be mounted.
struct MountPoint {
  /// The absolute path, without symbolic links in its parents. Nothing of the mounted filesystem itself is asked,
  /// since it may not answer.
  let path: String

  init(_ given: String) throws(Failure) {
    var absolute = given
    if !given.hasPrefix("/") {
      guard let current = getcwd(nil, 0) else {
        throw Failure(.failed, "the current directory is gone; give an absolute path")
      }
      defer { free(current) }
      absolute = String(cString: current) + "/" + given
    }
    var components: [Substring] = []
    for component in absolute.split(separator: "/") where component != "." {
      if component == ".." { _ = components.popLast() } else { components.append(component) }
    }
    guard let name = components.popLast() else {
      path = "/"
      return
    }
    let parent = "/" + components.joined(separator: "/")
    guard let resolved = realpath(parent, nil) else {
      throw Failure(.notMounted, "\(parent): \(String(cString: strerror(errno)))")
    }
    defer { free(resolved) }
    let real = String(cString: resolved)
    path = (real == "/" ? "" : real) + "/" + name
  }

  /// The type of the filesystem mounted here last, as /proc/self/mountinfo has it; nil if none.
  private var type: String? {
    guard let file = fopen("/proc/self/mountinfo", "re") else { return nil }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    var found: String?
    while getline(&line, &capacity, file) > 0, let text = line.map({ String(cString: $0) }) {
      // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue (proc_pid_mountinfo(5))
      let fields = text.split(separator: " ")
      guard fields.count > 6, MountPoint.unescaped(fields[4]) == path,
        let separator = fields.firstIndex(of: "-"), separator + 1 < fields.count
      else { continue }
      found = String(fields[separator + 1])
    }
    return found
  }

  var isMounted: Bool { type != nil }
  var isP2PFS: Bool { type == "fuse.p2pfs" }

  /// Unmounts at once, whatever still uses it.
  func detach() throws(Failure) {
    if umount2(path, Int32(MNT_DETACH)) == 0 { return }
    let error = errno
    guard error == EPERM else {
      throw Failure(.failed, "cannot unmount \(path): \(String(cString: strerror(error)))")
    }
    // An ordinary user unmounts through the setuid program.
    let status = try run(["fusermount3", "-u", "-z", "--", path])
    guard status == 0 else { throw Failure(.failed, "fusermount3 could not unmount \(path) (status \(status))") }
  }

  private func run(_ arguments: [String]) throws(Failure) -> Int32 {
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in argv { free(pointer) } }
    var process: pid_t = 0
    let error = posix_spawnp(&process, arguments[0], nil, nil, &argv, Glibc.environ)
    guard error == 0 else {
      throw Failure(.failed, "cannot run \(arguments[0]): \(String(cString: strerror(error)))")
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return (status >> 8) & 0xff
  }

  /// Undoes the octal escapes of /proc/self/mountinfo.
  private static func unescaped(_ field: Substring) -> String {
    let bytes = Array(field.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count,
        let byte = UInt8(String(decoding: bytes[(index + 1)...(index + 3)], as: UTF8.self), radix: 8)
      {
        result.append(byte)
        index += 4
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}

extension String {
  /// The first word, and what follows the blank behind it.
  var splitAtSpace: (String, String) {
    guard let space = firstIndex(of: " ") else { return (self, "") }
    return (String(self[..<space]), String(self[index(after: space)...]))
  }
}

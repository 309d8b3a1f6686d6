import CP2PFSLinux
import Glibc
import Synchronization

/// A user of the system, other than root.
struct User {
  /// There is one, and one /dev/fuse: one test after the other.
  private static let turn = Mutex(())

  let name: String
  let id: uid_t
  let group: gid_t

  /// Runs a test with an ordinary user of the system, and /dev/fuse as udev leaves it on every desktop.
  static func make(_ body: (User) throws -> Void) throws {
    try turn.withLock { _ in try makeAlone(body) }
  }

  private static func makeAlone(_ body: (User) throws -> Void) throws {
    let name = "p2pfs-test"
    if getpwnam(name) == nil { try command(["useradd", "--no-create-home", "--shell", "/bin/sh", name]) }
    guard let entry = getpwnam(name)?.pointee else { throw StageError("cannot make the user \(name)") }
    defer { try? command(["userdel", name]) }
    var status = stat()
    guard stat("/dev/fuse", &status) == 0, chmod("/dev/fuse", 0o666) == 0 else { throw StageError("no /dev/fuse") }
    defer { chmod("/dev/fuse", status.st_mode & 0o777) }
    try body(User(name: name, id: entry.pw_uid, group: entry.pw_gid))
  }

  private static func command(_ arguments: [String]) throws {
    let record = "/dev/shm/p2pfs-user-\(getpid())"
    let child = try Child(
      arguments, environment: ["PATH": Computer.searchPath], directory: "/", record: record)
    let outcome = try child.wait(seconds: 20)
    for end in [".out", ".err"] { unlink(record + end) }
    guard outcome.status == 0 else { throw StageError("\(arguments): \(outcome)") }
  }
}

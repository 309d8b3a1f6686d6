import P2PFSMeeting
import ArgumentParser
import CP2PFSLinux
import P2PFSCore
import Glibc

/// `p2pfs umount`.
struct UmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount",
    abstract: "Unmount a folder that p2pfs has mounted.",
    discussion: """
      While the other computer can be reached, waits for what is not yet written there. If it cannot, says what is \
      lost, unmounts all the same, and exits with 1. A mount that is in use stays, as with umount(8), unless --lazy is \
      given. Also clears a mount point whose process has died.
      """,
    aliases: ["unmount"])

  @Flag(name: .shortAndLong, help: "Unmount although it is in use: open files end with errors.")
  var lazy = false

  @Argument(help: "Where it is mounted.", completion: .mounted)
  var mountpoint: String

  func run() throws {
    Signals.release()
    do {
      try unmount(MountPoint(mountpoint))
    } catch {
      throw ExitCode(Console.report(error))
    }
  }

  /// Said of a mount that is in use. `users`: names and numbers of processes, as far as they can be seen.
  static func busy(_ mountpoint: MountPoint, users: String) -> Failure {
    let by = users.isEmpty ? "" : ", used by \(Console.escaped(users))"
    return Failure(
      .failed, "cannot unmount \(mountpoint.shown): target is busy\(by). End that first, or detach it with --lazy.")
  }

  private func unmount(_ mountpoint: MountPoint) throws(Failure) {
    guard mountpoint.isMounted else {
      throw Failure(.failed, "nothing is mounted on \(mountpoint.shown)")
    }
    guard mountpoint.isP2PFS else {
      throw Failure(.failed, "what is mounted on \(mountpoint.shown) is not of p2pfs; use umount(8)")
    }
    guard let daemon = ControlSocket.connect(toMountAt: mountpoint.path) else {
      // Its process has died, or is of another user.
      try mountpoint.detach()
      return
    }
    daemon.stream.write(lazy ? "umount lazy" : "umount")
    var lost: String?
    while let line = daemon.next() {
      let (word, rest) = line.splitAtSpace
      switch word {
      case "waiting": Console.say("Waiting for \(rest) to be written on the other computer…")
      case "busy":
        throw UmountCommand.busy(mountpoint, users: rest)
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

extension String {
  /// The first word, and what follows the blank behind it.
  var splitAtSpace: (String, String) {
    guard let space = firstIndex(of: " ") else { return (self, "") }
    return (String(self[..<space]), String(self[index(after: space)...]))
  }
}

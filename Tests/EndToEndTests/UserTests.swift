import Glibc
import Testing

extension EndToEnd {
  /// Who mounts, and who may look.
  @Suite struct Users {
    @Test func `ordinary users export and mount`() throws {
      try withUser { user in
        try Stage.run { stage in
          let (a, b) = (try stage.computer("a", user: user), try stage.computer("b", user: user))
          let export = a.makeDirectory("export")
          try a.shell("echo mine > \"$E/f\"; chmod 600 \"$E/f\"", ["E": export])
          let exporter = try a.export(export)
          let mounted = try b.mount(exporter.code)
          let variables = ["M": mounted.point, "E": export, "ID": "\(user.id):\(user.group)"]
          try b.shell(
            """
            test "$(stat -c %u:%g "$M/f")" = "$ID"; cat "$M/f"; echo more >> "$M/f"; cp -a "$M/f" "$M/g"; rsync -a "$M/" copy/
            mkdir "$M/d"; mv "$M/g" "$M/d/"; test "$(cat "$E/d/g")" = $'mine\\nmore'; chown "$ID" "$M/f"
            """, variables)
          // Not even root may look into a user's mount, unless it was mounted so.
          let root = try stage.computer("root")
          #expect(try root.run(["ls", mounted.point]).errors.contains("Permission denied"))
          try b.unmount(mounted)
        }
      }
    }

    @Test func `root mounts for all with allow_other, and modes count`() throws {
      try withUser { user in
        try Stage.run { stage in
          let (a, b) = (try stage.computer("a"), try stage.computer("b"))
          let guest = try stage.computer("guest", user: user)
          let export = a.makeDirectory("export")
          try a.shell(
            "echo all > \"$E/f\"; echo root > \"$E/g\"; chmod 644 \"$E/f\"; chmod 600 \"$E/g\"", ["E": export])
          let exporter = try a.export(export)
          let mounted = try b.mount(exporter.code, on: "mnt", ["-o", "allow_other"])
          #expect(try guest.shell("cat \"$M/f\"", ["M": mounted.point]) == "all\n")
          #expect(try guest.run(["cat", mounted.point + "/g"]).errors.contains("Permission denied"))
          #expect(try guest.run(["touch", mounted.point + "/h"]).errors.contains("Permission denied"))
        }
      }
    }

    /// Runs a test with an ordinary user of the system, and /dev/fuse as udev leaves it on every desktop.
    private func withUser(_ body: (User) throws -> Void) throws {
      let name = "p2pfs-test"
      if getpwnam(name) == nil { try command(["useradd", "--no-create-home", "--shell", "/bin/sh", name]) }
      guard let entry = getpwnam(name)?.pointee else { throw StageError("cannot make the user \(name)") }
      defer { try? command(["userdel", name]) }
      var status = stat()
      guard stat("/dev/fuse", &status) == 0, chmod("/dev/fuse", 0o666) == 0 else { throw StageError("no /dev/fuse") }
      defer { chmod("/dev/fuse", status.st_mode & 0o777) }
      try body(User(name: name, id: entry.pw_uid, group: entry.pw_gid))
    }

    private func command(_ arguments: [String]) throws {
      let child = try Child(
        arguments, environment: ["PATH": Computer.searchPath], directory: "/", record: "/dev/shm/p2pfs-user-\(getpid())"
      )
      let outcome = try child.wait(seconds: 20)
      for end in [".out", ".err"] { unlink("/dev/shm/p2pfs-user-\(getpid())" + end) }
      guard outcome.status == 0 else { throw StageError("\(arguments): \(outcome)") }
    }
  }
}

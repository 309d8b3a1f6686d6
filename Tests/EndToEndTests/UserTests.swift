import Glibc
import Testing

extension EndToEnd {
  /// Who mounts, and who may look.
  @Suite struct Users {
    @Test func `ordinary users export and mount`() throws {
      try User.make { user in
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
          // Neither a debugger nor a core dump of that user gets to the secrets.
          for program in a.programs + b.programs {
            #expect(try a.shell("stat -c %u /proc/\(program.pid)/mem") == "0\n", "\(program)")
          }
          // Not even root may look into a user's mount, unless it was mounted so.
          let root = try stage.computer("root")
          #expect(try root.run(["ls", mounted.point]).errors.contains("Permission denied"))
          try b.unmount(mounted)
        }
      }
    }

    @Test func `root mounts for all with allow_other, and modes count`() throws {
      try User.make { user in
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
  }
}

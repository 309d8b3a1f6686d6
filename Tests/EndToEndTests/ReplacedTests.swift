import Glibc
import P2PFSCore
import Rig
import Testing

extension EndToEnd {
  /// The exporter's user replaces what the guest's programs have open, or know.
  @Suite struct Replaced {
    @Test func `a running rm -r takes nothing of a tree that was made in its place`() throws {
      try EndToEnd.pair { a, export in
        try a.shell("mkdir -p \"$E/tree/sub\"; cd \"$E/tree/sub\"; touch {1..3000}", ["E": export])
      } _: { pair in
        let removing = try pair.start("ls \"$M/tree/sub\" > all; rm -r \"$M/tree\"")
        try pair.host(
          """
          while [ -e "$E/tree/sub/1" ] && [ "$(ls "$E/tree/sub" | wc -l)" = 3000 ]; do sleep 0.01; done
          mv "$E/tree" "$E/old"; mkdir -p "$E/tree/sub"; cd "$E/tree/sub"; touch {1..3000}
          """)
        _ = try removing.wait(seconds: 60)
        try pair.host("[ \"$(ls \"$E/tree/sub\" | wc -l)\" = 3000 ]")
        // By its path it is what is there now.
        try pair.guest("rm -r \"$M/tree\" || rm -r \"$M/tree\"")
        try pair.host("[ ! -e \"$E/tree\" ]; [ -e \"$E/old/sub\" ]")
      }
    }

    @Test func `another directory is exported under the same name, and the mount has that`() throws {
      try EndToEnd.pair(mount: ["-o", "timeout=60"]) { pair in
        try pair.host("mkdir \"$E/d\"; echo old > \"$E/d/f\"; echo old > \"$E/a\"")
        try pair.guest("ls \"$M\" \"$M/d\"; cat \"$M/a\"")
        pair.exporter.child.signal(SIGKILL)
        _ = try? pair.exporter.child.wait(seconds: 10)
        try pair.host("mv \"$E\" \"$E.old\"; mkdir -p \"$E/d\"; echo new > \"$E/d/f\"; echo new > \"$E/b\"")
        let again = try Exporter(pair.a.startP2PFS(["export", pair.export]))
        #expect(again.code == pair.exporter.code)
        try pair.guest(
          """
          for i in {1..40}; do [ "$(ls "$M" | tr "\\n" " ")" = "b d " ] && break; sleep 0.5; done
          ls "$M"; [ "$(cat "$M/b" "$M/d/f" | sort -u)" = new ]; [ ! -e "$M/a" ]; mkdir "$M/e"; stat "$M"
          """)
        try pair.host("[ -d \"$E/e\" ]; rm -r \"$E.old\"")
      }
    }

    @Test func `a file that is rewritten within a tick of a coarse clock is read anew`() throws {
      try EndToEnd.pair { a, export in
        try a.shell(
          """
          truncate -s 16M image; mkfs.ext4 -q -F -I 128 image 2> messages; mkdir "$E/coarse"
          mount -o loop image "$E/coarse"
          """, ["E": export])
      } _: { pair in
        defer { _ = try? pair.host("umount \"$E/coarse\" || umount -l \"$E/coarse\"") }
        try pair.guest(
          """
          python3 - "$M/coarse/f" "$E/coarse/f" <<'END'
          import os, sys, time
          here, there = sys.argv[1:]
          def write(byte):
              file = os.open(there, os.O_WRONLY | os.O_CREAT); os.pwrite(file, byte * 300000, 0); os.close(file)
          write(b"0"); time.sleep(1.2 - time.time() % 1)
          write(b"A"); assert set(open(here, "rb").read()) == set(b"A")
          write(b"B"); assert set(open(here, "rb").read()) == set(b"B")
          time.sleep(3); assert set(open(here, "rb").read()) == set(b"B")
          END
          """)
      }
    }
  }
}

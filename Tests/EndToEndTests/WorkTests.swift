import Testing

extension EndToEnd {
  /// What people do in a mounted folder, with the programs they do it with.
  @Suite struct Work {
    @Test func `a mount shows what is exported, with sizes, modes and times to the nanosecond`() throws {
      try EndToEnd.pair { a, export in
        try a.shell(
          """
          mkdir -p "$E/deep/er/still" "$E/empty"
          echo one > "$E/one"; head -c 1000000 /dev/urandom > "$E/deep/er/big"; chmod 640 "$E/one"; chmod 700 "$E/empty"
          touch -d '2001-02-03 04:05:06.123456789 UTC' "$E/one"; touch -d '1969-12-31 23:59:58.5 UTC' "$E/deep/er/big"
          ln -s ../one "$E/deep/link"; ln "$E/one" "$E/deep/hard"; mkfifo "$E/fifo"
          touch "$E/"$'a\\nb' "$E/"$'\\xff\\xfe' "$E/ spaces " "$E/$(printf 'n%.0s' {1..255})"
          """, ["E": export])
      } _: { pair in
        let list = "-printf '%y %m %s %n %T@ %l %P\\0' | sort -z | tr '\\0' '\\n'"
        let here = try pair.host("cd \"$E\"; find . ! -type d \(list); find . -type d -printf '%m %T@ %P\\n' | sort")
        let there = try pair.guest("cd \"$M\"; find . ! -type d \(list); find . -type d -printf '%m %T@ %P\\n' | sort")
        #expect(here == there)
        #expect(here.contains("981173106.1234567890"))
        #expect(try pair.guest("stat -c %u:%g \"$M/one\"") == "0:0\n")
        try pair.guest("cmp \"$M/deep/er/big\" \"$E/deep/er/big\"; ls -lR \"$M\" > /dev/null")
      }
    }

    @Test func `copies in and out have the right bytes`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          head -c 20000000 /dev/urandom > big; for i in 0 1 4095 4096 4097 65536 131073; do head -c $i big > f$i; done
          cp big f* "$M/"; for f in big f*; do cmp $f "$E/$f"; done
          mkdir back; cp "$M/"* back/; for f in big f*; do cmp $f back/$f; done
          cp "$M/big" "$M/again"; cmp big "$E/again"; mv "$M/again" "$M/moved"; test ! -e "$E/again"; cmp big "$E/moved"
          dd if=big of="$M/dd" bs=777 count=2000 status=none; cmp -n 1554000 big "$E/dd"
          dd if=f131073 of="$M/big" bs=1000 seek=3 conv=notrunc status=none
          dd if=f131073 of=big bs=1000 seek=3 conv=notrunc status=none; cmp big "$E/big"
          rm "$M/"*; test -z "$(ls -A "$E")"
          """)
      }
    }

    @Test func `rsync copies a tree both ways, and a second time nothing`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          mkdir -p tree/{a,b}/{c,d}; for i in {1..60}; do head -c $((i * 313)) /dev/urandom > tree/a/c/f$i; done
          touch -d '2010-01-01 00:00:00.000000001' tree/b/d/old; ln -s ../a/c/f1 tree/b/link; chmod 600 tree/a/c/f7
          rsync -a tree/ "$M/tree/"; diff -r tree "$E/tree"; test -z "$(rsync -ai tree/ "$M/tree/")"
          rsync -a "$M/tree/" back/; diff -r tree back; test -z "$(rsync -ai "$M/tree/" back/)"
          echo more >> tree/a/c/f3; rm tree/a/c/f4; rsync -a --delete tree/ "$M/tree/"; diff -r tree "$E/tree"
          echo inplace >> tree/a/c/f5; rsync -a --inplace tree/ "$M/tree/"; diff -r tree "$E/tree"
          """, seconds: 120)
      }
    }

    @Test func `git works in a repository on the mount`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          git config --global user.name Somebody; git config --global user.email somebody@example.org
          git init -q "$M/repo"; cd "$M/repo"
          for i in {1..30}; do echo "file $i" > f$i; done; git add .; git commit -qm first
          echo change >> f1; test "$(git status --porcelain)" = ' M f1'; git commit -qam second
          git checkout -qb branch HEAD~1; echo other > g; git add g; git commit -qm third; git merge -q -m both master
          test "$(git log --oneline | wc -l)" = 4; test -z "$(git status --porcelain)"; git stash list; git gc -q; git fsck
          git clone -q "$M/repo" "$HOME/clone"; git clone -q "$HOME/clone" "$M/copy"; cd "$M/copy"; git fsck
          test -z "$(git status --porcelain)"; diff -r --exclude=.git "$M/copy" "$HOME/clone"
          """, seconds: 120)
        try pair.host("git config --global --add safe.directory '*'; git -C \"$E/repo\" fsck; rm -r \"$E/copy\"")
      }
    }

    @Test func `tar unpacks onto the mount and packs from it, times and modes included`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          mkdir -p t/d/e; for i in {1..40}; do echo $i > t/d/f$i; done; chmod 755 t/d/f1; ln t/d/f2 t/d/e/hard
          ln -s ../f3 t/d/e/soft; find t -exec touch -h -d '2015-05-05 05:05:05' {} +
          tar -cf one.tar t; tar -C "$M" -xf one.tar; tar -C "$M" -df one.tar; tar -C "$E" -df one.tar
          tar -C "$M" -cf two.tar t; mkdir back; tar -C back -xf two.tar; diff -r t back/t
          list() { (cd "$1"; find t -printf '%P %y %m %n %Ts %l\\n' | sort); }
          test "$(list .)" = "$(list back)"; test "$(list .)" = "$(list "$E")"
          """)
      }
    }

    @Test func `sqlite keeps its promises with a rollback journal`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          d="$M/data.db"; sqlite3 "$d" 'PRAGMA journal_mode=DELETE; CREATE TABLE t(i INTEGER PRIMARY KEY, b BLOB);' >/dev/null
          sqlite3 "$d" 'BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)
            INSERT INTO t SELECT i, randomblob(500) FROM n; COMMIT;'
          for i in 1 2 3 4 5; do sqlite3 "$d" "UPDATE t SET b = randomblob(700) WHERE i % 5 = $i % 5;"; done
          sqlite3 "$d" 'BEGIN; DELETE FROM t; ROLLBACK;'
          test "$(sqlite3 "$d" 'SELECT count(*) FROM t; PRAGMA integrity_check;')" = $'500\\nok'
          test ! -e "$M/data.db-journal"; sqlite3 "$d" 'DELETE FROM t WHERE i > 250; VACUUM;'
          """)
        #expect(
          try pair.host("sqlite3 \"$E/data.db\" 'SELECT count(*) FROM t; PRAGMA integrity_check;'") == "250\nok\n")
      }
    }

    @Test func `fio reads back what it wrote, in random order and sizes`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          common='--directory='"$M"' --size=8m --ioengine=psync --fallocate=none --verify=crc32c --verify_fatal=1 --minimal'
          fio --name=random --rw=randwrite --bsrange=512-64k --bs_unaligned=1 --end_fsync=1 $common > fio.out
          fio --name=both --rw=randrw --bs=4k --numjobs=2 --fsync=50 $common >> fio.out
          fio --name=line --rw=write --bs=1m $common >> fio.out
          fio --name=line --rw=read --bs=1m --do_verify=1 $common >> fio.out
          """, seconds: 180)
      }
    }

    @Test func `editors save by renaming over a file that others have open`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          echo old > "$M/text"; exec 3< "$M/text"; echo new > "$M/.text.tmp"; sync "$M/.text.tmp"
          mv -f "$M/.text.tmp" "$M/text"; test "$(cat "$M/text")" = new; test "$(cat <&3)" = old; exec 3<&-
          ex -s -u NONE -c 'set backupcopy=no backup writebackup fsync' -c '%s/new/newer/' -c 'wq' "$M/text" < /dev/null
          test "$(cat "$E/text")" = newer; ex -s -u NONE -c 'set backupcopy=yes' -c '%s/newer/newest/' -c 'wq' "$M/text"
          test "$(cat "$E/text")" = newest; test -z "$(find "$E" -name '.fuse*' -o -name '*.swp')"
          """)
      }
    }

    @Test func `an unlinked file lives as long as it is open`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          echo one > "$M/f"; exec 3<> "$M/f"; rm "$M/f"; test ! -e "$E/f"; echo two >> /proc/self/fd/3 || true
          echo three >&3; test -z "$(ls -A "$M")"; exec 3>&-; mkdir "$M/d"; rmdir "$M/d"; test -z "$(ls -A "$E")"
          """)
      }
    }

    @Test func `files over 4 GiB, holes and truncation`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          truncate -s 5G "$M/big"; test "$(stat -c %s "$E/big")" = 5368709120
          printf here | dd of="$M/big" bs=1 seek=4831838208 conv=notrunc status=none
          test "$(dd if="$E/big" bs=1 skip=4831838208 count=4 status=none)" = here
          test "$(dd if="$M/big" bs=1 skip=4831838208 count=4 status=none)" = here
          test "$(stat -c %b "$M/big")" -lt 1000; cp --sparse=always "$M/big" sparse & wait $!; test "$(stat -c %b sparse)" -lt 1000
          truncate -s 7 "$M/big"; test "$(stat -c %s "$E/big")" = 7; printf 1234567890 > "$M/g"; truncate -s 4 "$M/g"
          test "$(cat "$E/g")" = 1234; fallocate -l 100000 "$M/h"; test "$(stat -c %s "$E/h")" = 100000
          """, seconds: 180)
      }
    }

    @Test func `appending from both sides loses nothing`() throws {
      try EndToEnd.pair { pair in
        let guest = try pair.start("for i in {1..200}; do echo guest $i >> \"$M/log\"; done")
        try pair.host("for i in {1..200}; do echo host $i >> \"$E/log\"; sleep 0.002; done")
        #expect(try guest.wait(seconds: 60).status == 0)
        #expect(try pair.host("sort -u \"$E/log\" | wc -l; wc -l < \"$E/log\"") == "400\n400\n")
      }
    }

    @Test func `twenty thousand files in one directory`() throws {
      try EndToEnd.pair { a, export in
        try a.shell("cd \"$E\"; mkdir many; cd many; seq -f %05g 1 20000 | xargs touch", ["E": export])
      } _: { pair in
        try pair.guest(
          """
          test "$(ls -f "$M/many" | sort -u | wc -l)" = 20002; test "$(find "$M/many" -type f -size 0 | wc -l)" = 20000
          find "$M/many" -name '0*' -delete
          """, seconds: 180)
        #expect(try pair.host("ls \"$E/many\" | wc -l") == "10001\n")
      }
    }

    @Test func `everything belongs to whoever mounted, and chown to somebody else is refused`() throws {
      try EndToEnd.pair { pair in
        try pair.guest("echo x > \"$M/f\"; chown 0:0 \"$M/f\"; chmod 604 \"$M/f\"; test $(stat -c %a \"$E/f\") = 604")
        #expect(try pair.failure(of: "chown 12345 \"$M/f\"").contains("Operation not permitted"))
        try pair.guest("chmod 4755 \"$M/f\" || true")
        #expect(try pair.host("stat -c %a \"$E/f\"").hasPrefix("4") == false)
      }
    }

    @Test func `symbolic links that leave the share are refused, those inside work`() throws {
      try EndToEnd.pair { a, export in
        try a.shell(
          """
          echo canary > "$HOME/canary"; mkdir -p "$E/d/e"; echo in > "$E/in"; ln -s ../../in "$E/d/e/in"
          ln -s "$HOME/canary" "$E/absolute"; ln -s ../canary "$E/up"; ln -s ../../../canary "$E/d/up"
          """, ["E": export])
      } _: { pair in
        #expect(try pair.guest("cat \"$M/d/e/in\"") == "in\n")
        for link in ["absolute", "up", "d/up"] {
          let told = try pair.failure(of: "cat \"$M/\(link)\"")
          #expect(told.contains("Operation not permitted"), "\(link)")
        }
        try pair.guest("test -z \"$(cat \"$M\"/up 2>/dev/null)\"")
        #expect(try pair.host("cat canary") == "canary\n")
      }
    }

    @Test func `a full disk says so to the writer`() throws {
      try EndToEnd.pair { a, export in
        try a.shell("mkdir \"$E/small\"; mount -t tmpfs -o size=1m tmpfs \"$E/small\"", ["E": export])
      } _: { pair in
        #expect(try pair.failure(of: "head -c 3000000 /dev/zero > \"$M/small/f\"").contains("No space left"))
        try pair.guest("rm \"$M/small/f\"; echo room again > \"$M/small/g\"; cat \"$M/small/g\"")
        try pair.b.unmount(pair.mounted)
        try pair.exporter.interrupt()
        try pair.host("umount \"$E/small\"")
      }
    }

    @Test func `df shows the exporter's disk`() throws {
      try EndToEnd.pair { pair in
        let command = "df --output=size -k"
        let there = try pair.guest("\(command) \"$M\"")
        #expect(try there == pair.host("\(command) \"$E\""))
      }
    }

    @Test func `fsync and a change of times reach the exporter`() throws {
      try EndToEnd.pair { pair in
        try pair.guest(
          """
          dd if=/dev/urandom of="$M/f" bs=100000 count=20 conv=fsync status=none; test "$(stat -c %s "$E/f")" = 2000000
          touch -d '2020-02-02 02:02:02.000000002' "$M/f"; sync "$M"
          test "$(stat -c %.9Y "$M/f")" = "$(stat -c %.9Y "$E/f")"
          """)
      }
    }
  }
}

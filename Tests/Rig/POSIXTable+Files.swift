import CP2PFSLinux
import Glibc
import SystemPackage

extension POSIXCase {
  /// Files: making, opening, times, permissions, unlinking.
  static let files: [POSIXCase] = [
    POSIXCase("a file keeps what is written") { place in
      try write("hello", to: place.appending("a"))
      try expect(try contents(place.appending("a")) == "hello", "other contents")
      try expect(try status(place.appending("a")).st_size == 5, "other size")
    },
    POSIXCase("O_EXCL refuses a file that is there") { place in
      try write("x", to: place.appending("a"))
      try expectError(EEXIST, from: open(place.appending("a").string, O_CREAT | O_EXCL | O_WRONLY, 0o644), "open")
    },
    POSIXCase("O_TRUNC empties a file") { place in
      try write("long contents", to: place.appending("a"))
      let file = try File(place.appending("a"), O_WRONLY | O_TRUNC)
      try expect(try file.status.st_size == 0, "not empty")
      try expect(try contents(place.appending("a")) == "", "not empty")
    },
    POSIXCase("appends of two handles do not overwrite each other") { place in
      let one = try File(place.appending("a"), O_WRONLY | O_CREAT | O_APPEND)
      let other = try File(place.appending("a"), O_WRONLY | O_APPEND)
      for number in 0..<20 { try (number % 2 == 0 ? one : other).write(Array("line \(number)\n".utf8)) }
      let expected = (0..<20).map { "line \($0)\n" }.joined()
      try expect(try contents(place.appending("a")) == expected, "lines are lost")
    },
    POSIXCase("a large append arrives in order") { place in
      let bytes = noise(300_000)
      let file = try File(place.appending("a"), O_WRONLY | O_CREAT | O_APPEND)
      try file.write([1, 2, 3])
      try file.write(bytes)
      let back = try File(place.appending("a"), O_RDONLY).read(400_000, at: 0)
      try expect(back == [1, 2, 3] + bytes, "other contents")
    },
    POSIXCase("times have nanoseconds") { place in
      let path = place.appending("a")
      try write("x", to: path)
      let times = [
        timespec(tv_sec: 1_234_567_890, tv_nsec: 123_456_789), timespec(tv_sec: -5, tv_nsec: 999_999_999),
      ]
      try check(utimensat(AT_FDCWD, path.string, times, 0), "utimensat")
      let found = try status(path)
      try expect(found.st_atim.tv_sec == 1_234_567_890 && found.st_atim.tv_nsec == 123_456_789, "access time")
      try expect(found.st_mtim.tv_sec == -5 && found.st_mtim.tv_nsec == 999_999_999, "modification time")
    },
    POSIXCase("UTIME_OMIT leaves a time and UTIME_NOW sets it") { place in
      let path = place.appending("a")
      try write("x", to: path)
      let old = timespec(tv_sec: 1_000_000, tv_nsec: 5)
      try check(utimensat(AT_FDCWD, path.string, [old, old], 0), "utimensat")
      let now = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 1)
      let omit = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)
      try check(utimensat(AT_FDCWD, path.string, [now, omit], 0), "utimensat")
      let found = try status(path)
      try expect(found.st_atim.tv_sec > 1_600_000_000, "access time is not now")
      try expect(found.st_mtim.tv_sec == 1_000_000 && found.st_mtim.tv_nsec == 5, "modification time has changed")
    },
    POSIXCase("a time set after writing stays") { place in
      let file = try File(place.appending("a"), O_WRONLY | O_CREAT)
      try file.write(noise(200_000))
      let times = [timespec(tv_sec: 1_000_000_000, tv_nsec: 7), timespec(tv_sec: 1_000_000_000, tv_nsec: 7)]
      try check(futimens(file.descriptor, times), "futimens")
      try check(close(dup(file.descriptor)), "close")
      let found = try status(place.appending("a"))
      try expect(found.st_mtim.tv_sec == 1_000_000_000 && found.st_mtim.tv_nsec == 7, "the write came later")
    },
    POSIXCase("chmod changes the permissions") { place in
      try write("x", to: place.appending("a"))
      for mode: mode_t in [0o600, 0o755, 0o444, 0o000] {
        try check(chmod(place.appending("a").string, mode), "chmod")
        try expect(try status(place.appending("a")).st_mode & 0o7777 == mode, "other mode")
      }
    },
    POSIXCase("the umask applies to new files") { place in
      let before = umask(0o027)
      defer { umask(before) }
      _ = try File(place.appending("a"), O_WRONLY | O_CREAT, 0o666)
      try check(mkdir(place.appending("d").string, 0o777), "mkdir")
      try expect(try status(place.appending("a")).st_mode & 0o777 == 0o640, "file")
      try expect(try status(place.appending("d")).st_mode & 0o777 == 0o750, "directory")
    },
    POSIXCase("chown to oneself succeeds") { place in
      try write("x", to: place.appending("a"))
      try check(chown(place.appending("a").string, getuid(), getgid()), "chown")
      try check(chown(place.appending("a").string, .max, .max), "chown to nobody")
    },
    POSIXCase("an unlinked file lives while it is open") { place in
      let path = place.appending("a")
      let file = try File(path, O_RDWR | O_CREAT)
      try file.write(Array("before".utf8))
      try check(unlink(path.string), "unlink")
      try expectError(ENOENT, from: access(path.string, F_OK), "access")
      try file.write(Array(" and after".utf8))
      try expect(try file.read(100, at: 0) == Array("before and after".utf8), "other contents")
      try expect(try file.status.st_size == 16, "other size")
      try expect(try file.status.st_nlink == 0, "it has links")
      try check(ftruncate(file.descriptor, 3), "ftruncate")
      try expect(try file.status.st_size == 3, "not truncated")
      try check(fchmod(file.descriptor, 0o600), "fchmod")
      try check(fsync(file.descriptor), "fsync")
      try expect(try listing(place).isEmpty, "something is left: \(try listing(place))")
    },
    POSIXCase("fsync and fdatasync succeed on a file, fsync on a directory") { place in
      let file = try File(place.appending("a"), O_WRONLY | O_CREAT)
      try file.write(noise(100_000))
      try check(fsync(file.descriptor), "fsync")
      try check(fdatasync(file.descriptor), "fdatasync")
      let directory = try File(place, O_RDONLY | O_DIRECTORY)
      try check(fsync(directory.descriptor), "fsync of the directory")
    },
    POSIXCase("a FIFO can be made and is listed as one") { place in
      try check(mkfifo(place.appending("f").string, 0o600), "mkfifo")
      try expect(try status(place.appending("f")).st_mode & S_IFMT == S_IFIFO, "no FIFO")
    },
    POSIXCase("a file that is not there cannot be used") { place in
      let path = place.appending("none").string
      var found = stat()
      try expectError(ENOENT, from: open(path, O_RDONLY), "open")
      try expectError(ENOENT, from: stat(path, &found), "stat")
      try expectError(ENOENT, from: unlink(path), "unlink")
      try expectError(ENOENT, from: rmdir(path), "rmdir")
      try expectError(ENOENT, from: rename(path, path + "2"), "rename")
      try expectError(ENOENT, from: truncate(path, 5), "truncate")
      try expectError(ENOENT, from: open(path + "/x", O_CREAT | O_WRONLY, 0o644), "open beneath")
    },
    POSIXCase("a mode without write permission can still be created for writing") { place in
      let file = try File(place.appending("a"), O_WRONLY | O_CREAT | O_EXCL, 0o444)
      try file.write(Array("x".utf8))
      try expect(try status(place.appending("a")).st_mode & 0o777 == 0o444, "other mode")
    },
  ]

  /// Sizes: truncation, holes, offsets.
  static let sizes: [POSIXCase] = [
    POSIXCase("truncate shortens and lengthens") { place in
      let path = place.appending("a")
      try write("0123456789", to: path)
      try check(truncate(path.string, 4), "truncate")
      try expect(try contents(path) == "0123", "not shortened")
      try check(truncate(path.string, 8), "truncate")
      try expect(try contents(path) == "0123\0\0\0\0", "not lengthened by zeros")
    },
    POSIXCase("truncate sees the writes before it") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(noise(500_000))
      try check(ftruncate(file.descriptor, 100_000), "ftruncate")
      try file.write([9], at: 150_000)
      try expect(try file.status.st_size == 150_001, "other size")
      let back = try file.read(200_000, at: 0)
      try expect(back.count == 150_001 && back[..<100_000] == noise(500_000)[..<100_000], "other contents")
      try expect(back[100_000..<150_000].allSatisfy { $0 == 0 } && back[150_000] == 9, "no hole")
    },
    POSIXCase("the size is right while a file is being written") { place in
      let file = try File(place.appending("a"), O_WRONLY | O_CREAT)
      for number in 1...40 {
        try file.write(noise(10_000))
        if number % 10 == 0 {
          try expect(try file.status.st_size == number * 10_000, "fstat")
          try expect(try status(place.appending("a")).st_size == number * 10_000, "lstat")
        }
      }
    },
    POSIXCase("a sparse file has holes") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(noise(4096), at: 0)
      try file.write(noise(4096), at: 10_485_760)
      try check(fsync(file.descriptor), "fsync")
      try expect(try file.status.st_size == 10_489_856, "other size")
      try expect(try file.read(100, at: 5_000_000).allSatisfy { $0 == 0 }, "the hole is not zeros")
      let hole = try check(lseek(file.descriptor, 0, 4), "SEEK_HOLE")
      try expect(hole > 0 && hole <= 10_489_856, "hole at \(hole)")
      let data = try check(lseek(file.descriptor, 1_048_576, 3), "SEEK_DATA")
      try expect(data <= 10_485_760, "data at \(data)")
      try expectError(ENXIO, from: lseek(file.descriptor, 20_000_000, 3), "SEEK_DATA behind the end")
      try expect(try file.status.st_blocks * 512 < 10_000_000, "it is not sparse")
    },
    POSIXCase("offsets above 4 GiB work") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(Array("far".utf8), at: 5_368_709_120)
      try expect(try file.status.st_size == 5_368_709_123, "other size")
      try expect(try file.read(10, at: 5_368_709_119) == [0] + Array("far".utf8), "other contents")
      try check(truncate(place.appending("a").string, 4_294_967_297), "truncate")
      try expect(try status(place.appending("a")).st_size == 4_294_967_297, "other size")
    },
    POSIXCase("fallocate lengthens, and keeps the size if told to") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try check(posix_fallocate(file.descriptor, 0, 100_000) == 0 ? 0 : -1, "fallocate")
      try expect(try file.status.st_size == 100_000, "other size")
    },
  ]
}

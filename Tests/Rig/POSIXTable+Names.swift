import CP2PFSLinux
import Glibc
import SystemPackage

extension POSIXCase {
  /// Names: rename, links, symbolic links, odd names.
  static let names: [POSIXCase] = [
    POSIXCase("rename replaces a file, also one that is open") { place in
      let (old, new) = (place.appending("old"), place.appending("new"))
      try write("old", to: old)
      try write("replaced", to: new)
      let file = try File(new, O_RDWR)
      try check(rename(old.string, new.string), "rename")
      try expect(try contents(new) == "old", "not replaced")
      try expect(try file.read(100, at: 0) == Array("replaced".utf8), "the open file has changed")
      try file.write(Array("still".utf8))
      try expect(try contents(new) == "old", "written to the new one")
      try expectError(ENOENT, from: access(old.string, F_OK), "access")
      try expect(try listing(place) == ["new"], "\(try listing(place))")
    },
    POSIXCase("a file that is open can be renamed") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(Array("one".utf8))
      try check(rename(place.appending("a").string, place.appending("b").string), "rename")
      try file.write(Array(" two".utf8))
      try expect(try file.status.st_size == 7, "other size")
      try expect(try contents(place.appending("b")) == "one two", "other contents")
    },
    POSIXCase("a directory moves with all that is in it") { place in
      try check(mkdir(place.appending("a").string, 0o755), "mkdir")
      try check(mkdir(place.appending("a/b").string, 0o755), "mkdir")
      try write("deep", to: place.appending("a/b/c"))
      try check(mkdir(place.appending("z").string, 0o755), "mkdir")
      try check(rename(place.appending("a").string, place.appending("z/y").string), "rename")
      try expect(try contents(place.appending("z/y/b/c")) == "deep", "lost")
      try expectError(ENOENT, from: access(place.appending("a/b/c").string, F_OK), "access")
      try expectError(
        EINVAL, from: rename(place.appending("z").string, place.appending("z/y/b/q").string), "rename into itself")
    },
    POSIXCase("RENAME_NOREPLACE and RENAME_EXCHANGE") { place in
      let (one, other) = (place.appending("one").string, place.appending("other").string)
      try write("1", to: place.appending("one"))
      try write("2", to: place.appending("other"))
      try expectError(EEXIST, from: p2pfs_renameat2(AT_FDCWD, one, AT_FDCWD, other, 1), "NOREPLACE")
      try check(p2pfs_renameat2(AT_FDCWD, one, AT_FDCWD, other, 2), "EXCHANGE")
      try expect(try contents(place.appending("one")) == "2", "not exchanged")
      try expect(try contents(place.appending("other")) == "1", "not exchanged")
      try check(p2pfs_renameat2(AT_FDCWD, one, AT_FDCWD, place.appending("third").string, 1), "NOREPLACE")
      try expect(try listing(place).sorted() == ["other", "third"], "\(try listing(place))")
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      try write("x", to: place.appending("d/x"))
      try check(p2pfs_renameat2(AT_FDCWD, place.appending("d").string, AT_FDCWD, other, 2), "EXCHANGE with a directory")
      try expect(try contents(place.appending("other/x")) == "x", "not exchanged")
      try expect(try contents(place.appending("d")) == "1", "not exchanged")
    },
    POSIXCase("hard links share a file and count") { place in
      let (one, other) = (place.appending("one"), place.appending("other"))
      try write("shared", to: one)
      try check(link(one.string, other.string), "link")
      try expect(try status(one).st_nlink == 2 && status(other).st_nlink == 2, "not two links")
      try expect(try status(one).st_ino == status(other).st_ino, "other inode")
      try check(unlink(one.string), "unlink")
      try expect(try status(other).st_nlink == 1, "not one link")
      try expect(try contents(other) == "shared", "other contents")
      try expectError(EEXIST, from: link(other.string, other.string), "link onto itself")
      try expectError(EPERM, from: link(place.string, place.appending("d").string), "link of a directory")
    },
    POSIXCase("rename of two links to one file does nothing") { place in
      let (one, other) = (place.appending("one"), place.appending("other"))
      try write("x", to: one)
      try check(link(one.string, other.string), "link")
      try check(rename(one.string, other.string), "rename")
      try expect(try listing(place).sorted() == ["one", "other"], "\(try listing(place))")
      try expect(try contents(one) == "x", "gone")
    },
    POSIXCase("symbolic links inside the tree are followed") { place in
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      try write("target", to: place.appending("t"))
      try check(symlink("../t", place.appending("d/l").string), "symlink")
      try expect(try contents(place.appending("d/l")) == "target", "not followed")
      var bytes = [CChar](repeating: 0, count: 100)
      let count = try check(readlink(place.appending("d/l").string, &bytes, 100), "readlink")
      try expect(String(decoding: bytes[..<count].map(UInt8.init), as: UTF8.self) == "../t", "other target")
      try expect(try status(place.appending("d/l")).st_mode & S_IFMT == S_IFLNK, "no link")
      try expect(try status(place.appending("d/l")).st_size == 4, "other size")
    },
    POSIXCase("a loop of symbolic links is ELOOP") { place in
      try check(symlink("b", place.appending("a").string), "symlink")
      try check(symlink("a", place.appending("b").string), "symlink")
      try expectError(ELOOP, from: open(place.appending("a").string, O_RDONLY), "open")
      try expectError(ELOOP, from: open(place.appending("a").string, O_RDONLY | O_NOFOLLOW), "O_NOFOLLOW")
    },
    POSIXCase("names may have any bytes and 255 of them") { place in
      let long = String(repeating: "n", count: 255)
      try write("long", to: place.appending(long))
      try expect(try contents(place.appending(long)) == "long", "other contents")
      try expectError(
        ENAMETOOLONG, from: open(place.appending(long + "n").string, O_CREAT | O_WRONLY, 0o644), "256 bytes")
      try expectError(ENAMETOOLONG, from: access(place.appending(long + "n").string, F_OK), "access")
      let odd: [UInt8] = [0xff, 0xfe, 0x01, 0x0a, 0x20, 0x5c, 0x22, 0xc3]
      let path = Array(place.string.utf8) + [0x2f] + odd
      let terminated = path.map(CChar.init(bitPattern:)) + [0]
      let file = try check(open(terminated, O_CREAT | O_RDWR, 0o644), "open")
      try check(close(file), "close")
      var found = stat()
      try check(lstat(terminated, &found), "lstat")
      guard let directory = opendir(place.string) else { throw POSIXFailure(description: "opendir") }
      defer { closedir(directory) }
      var isListed = false
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name == odd { isListed = true }
      }
      try expect(isListed, "not listed as it is")
      try check(unlink(terminated), "unlink")
    },
    POSIXCase("what is no directory is ENOTDIR, what is one EISDIR") { place in
      try write("x", to: place.appending("f"))
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      try expectError(ENOTDIR, from: open(place.appending("f/x").string, O_RDONLY), "open beneath a file")
      try expectError(ENOTDIR, from: rmdir(place.appending("f").string), "rmdir of a file")
      try expectError(EISDIR, EPERM, from: unlink(place.appending("d").string), "unlink of a directory")
      try expectError(EISDIR, from: open(place.appending("d").string, O_WRONLY), "open a directory for writing")
      try expectError(
        ENOTDIR, from: rename(place.appending("d").string, place.appending("f").string), "directory over file")
      try expectError(
        EISDIR, from: rename(place.appending("f").string, place.appending("d").string), "file over directory")
      try expectError(EEXIST, from: mkdir(place.appending("f").string, 0o755), "mkdir over a file")
    },
  ]

  /// Directories: removing, listing, places in a listing.
  static let directories: [POSIXCase] = [
    POSIXCase("a directory that is not empty stays") { place in
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      try write("x", to: place.appending("d/x"))
      try expectError(ENOTEMPTY, EEXIST, from: rmdir(place.appending("d").string), "rmdir")
      try check(mkdir(place.appending("e").string, 0o755), "mkdir")
      try expectError(
        ENOTEMPTY, EEXIST, from: rename(place.appending("e").string, place.appending("d").string), "rename")
      try check(unlink(place.appending("d/x").string), "unlink")
      try check(rename(place.appending("e").string, place.appending("d").string), "rename over an empty one")
      try check(rmdir(place.appending("d").string), "rmdir")
      try expect(try listing(place).isEmpty, "something is left")
    },
    POSIXCase("a listing follows our own changes at once") { place in
      for name in ["a", "b", "c"] { try write(name, to: place.appending(name)) }
      try expect(try listing(place).sorted() == ["a", "b", "c"], "\(try listing(place))")
      try check(unlink(place.appending("b").string), "unlink")
      try expect(try listing(place).sorted() == ["a", "c"], "\(try listing(place))")
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      try check(rename(place.appending("a").string, place.appending("e").string), "rename")
      try expect(try listing(place).sorted() == ["c", "d", "e"], "\(try listing(place))")
      try expectError(ENOENT, from: access(place.appending("b").string, F_OK), "access")
      try write("again", to: place.appending("b"))
      try expect(try contents(place.appending("b")) == "again", "other contents")
    },
    POSIXCase("10,000 entries are listed once each, from any place again") { place in
      for number in 0..<10_000 {
        try check(close(try check(open(place.appending("f\(number)").string, O_CREAT | O_WRONLY, 0o644), "open")), "")
      }
      guard let directory = opendir(place.string) else { throw POSIXFailure(description: "opendir") }
      defer { closedir(directory) }
      let all = entries(directory)
      try expect(all.count == 10_000 && Set(all).count == 10_000, "\(all.count) entries, \(Set(all).count) names")
      rewinddir(directory)
      try expect(entries(directory) == all, "other entries after rewinddir")
      rewinddir(directory)
      for _ in 0..<5_000 { _ = readdir(directory) }
      let here = telldir(directory)
      let rest = entries(directory)
      seekdir(directory, here)
      try expect(entries(directory) == rest, "other entries after seekdir")
      try write("new", to: place.appending("new"))
      rewinddir(directory)
      try expect(entries(directory).contains("new"), "rewinddir does not see a new file")
    },
    POSIXCase("files can be removed while a directory is read") { place in
      for number in 0..<500 { try write("", to: place.appending("f\(number)")) }
      guard let directory = opendir(place.string) else { throw POSIXFailure(description: "opendir") }
      defer { closedir(directory) }
      var removed = 0
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
        if name == "." || name == ".." { continue }
        try check(unlink(place.appending(name).string), "unlink \(name)")
        removed += 1
      }
      try expect(removed == 500, "\(removed) seen")
      try expect(try listing(place).isEmpty, "something is left")
    },
    POSIXCase("statfs tells of the space") { place in
      var found = statvfs()
      try check(statvfs(place.string, &found), "statvfs")
      try expect(found.f_blocks > 0 && found.f_namemax == 255, "\(found.f_blocks) blocks, \(found.f_namemax)")
    },
    POSIXCase("a removed directory can still be looked at from inside") { place in
      try check(mkdir(place.appending("d").string, 0o755), "mkdir")
      let directory = try File(place.appending("d"), O_RDONLY | O_DIRECTORY)
      try check(rmdir(place.appending("d").string), "rmdir")
      _ = try directory.status
      try expectError(ENOENT, ESTALE, from: openat(directory.descriptor, "x", O_CREAT | O_WRONLY, 0o644), "openat")
    },
  ]

  /// Contents: mapping, large and random writes.
  static let data: [POSIXCase] = [
    POSIXCase("a file can be read through a mapping") { place in
      let bytes = noise(1_000_000)
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try file.write(bytes)
      guard let memory = mmap(nil, bytes.count, PROT_READ, MAP_SHARED, file.descriptor, 0), memory != MAP_FAILED else {
        throw POSIXFailure(description: "mmap: \(Errno(rawValue: errno))")
      }
      defer { munmap(memory, bytes.count) }
      try expect(UnsafeRawBufferPointer(start: memory, count: bytes.count).elementsEqual(bytes), "other contents")
    },
    POSIXCase("a file can be written through a mapping") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try check(ftruncate(file.descriptor, 65_536), "ftruncate")
      guard let memory = mmap(nil, 65_536, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0),
        memory != MAP_FAILED
      else { throw POSIXFailure(description: "mmap: \(Errno(rawValue: errno))") }
      memset(memory, 0x41, 65_536)
      try check(msync(memory, 65_536, CInt(MS_SYNC)), "msync")
      munmap(memory, 65_536)
      let back = try File(place.appending("a"), O_RDONLY).read(65_536, at: 0)
      try expect(back.count == 65_536 && back.allSatisfy { $0 == 0x41 }, "other contents")
    },
    POSIXCase("random writes and reads agree") { place in
      let size = 2_000_000
      var model = [UInt8](repeating: 0, count: size)
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      try check(ftruncate(file.descriptor, size), "ftruncate")
      var random: UInt64 = 42
      func next(_ bound: Int) -> Int {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(random >> 33) % bound
      }
      for round in 0..<300 {
        let offset = next(size - 70_000)
        let count = 1 + next(70_000)
        if round % 3 == 2 {
          try expect(try file.read(count, at: offset) == Array(model[offset..<offset + count]), "read \(round)")
        } else {
          let bytes = noise(count, seed: UInt64(round))
          try file.write(bytes, at: offset)
          model.replaceSubrange(offset..<offset + count, with: bytes)
        }
      }
      try expect(try file.read(size, at: 0) == model, "at the end")
      try expect(try File(place.appending("a"), O_RDONLY).read(size, at: 0) == model, "opened again")
    },
    POSIXCase("overlapping writes are done in their order") { place in
      let file = try File(place.appending("a"), O_RDWR | O_CREAT)
      for number in 0..<200 { try file.write([UInt8](repeating: UInt8(number), count: 50_000), at: number * 10) }
      let back = try File(place.appending("a"), O_RDONLY).read(60_000, at: 0)
      try expect(back.count == 51_990, "\(back.count) bytes")
      for place in 0..<51_990 {
        try expect(back[place] == UInt8(min(place / 10, 199)), "byte \(place) is of write \(back[place])")
      }
    },
    POSIXCase("a large file survives closing and opening") { place in
      let bytes = noise(8_000_001)
      do {
        let file = try File(place.appending("a"), O_WRONLY | O_CREAT)
        try file.write(bytes)
      }
      try expect(try status(place.appending("a")).st_size == 8_000_001, "other size")
      try expect(try File(place.appending("a"), O_RDONLY).read(9_000_000, at: 0) == bytes, "other contents")
    },
    POSIXCase("one handle sees what another has written") { place in
      let writer = try File(place.appending("a"), O_WRONLY | O_CREAT)
      let reader = try File(place.appending("a"), O_RDONLY)
      for number in 0..<20 {
        try writer.write(noise(5_000, seed: UInt64(number + 1)))
        let back = try reader.read(6_000, at: number * 5_000)
        try expect(back == noise(5_000, seed: UInt64(number + 1)), "write \(number)")
      }
    },
  ]
}

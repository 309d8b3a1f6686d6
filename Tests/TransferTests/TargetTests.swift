import Core
import Export
import Glibc
import Rig
import Session
import SystemPackage
import Testing
import Wire

@testable import Transfer

/// What is there already, what others do there meanwhile, and what a filesystem cannot do.
@Suite struct TargetTests {
  private func place(_ script: String) throws -> (TemporaryDirectory, String) {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir from to; cd from; \(script)")
    return (directory, path)
  }

  private func path(_ name: String) throws -> Path { try Path(Array(name.utf8)) }

  private func entry(_ name: String, _ kind: TransferEntry.Kind, mode: UInt32 = 0o644) throws -> TransferEntry {
    TransferEntry(kind, mode: mode, modified: Timestamp(seconds: 1, nanoseconds: 0), path: try path(name))
  }

  @Test func `of two transfers that bring the same file one gets it, whole`() async throws {
    let (directory, path) = try place(
      "mkdir a b; head -c 20000000 /dev/zero > a/f; head -c 20000000 /dev/urandom > b/f")
    let other = Task { try await transfer([path + "/from/b/f"], into: path + "/to", overwrites: true) }
    let endings = [
      try await transfer([path + "/from/a/f"], into: path + "/to", overwrites: true), try await other.value,
    ]
    for ending in endings where !ending.isWhole {
      #expect(ending.problems.receiver.reasons == "another p2pfs receives it", "\(ending)")
    }
    #expect(endings.contains { $0.isWhole })
    try shell("cd \(path); cmp from/a/f to/f || cmp from/b/f to/f; test ! -e to/.f.p2pfs-part")
    withExtendedLifetime(directory) {}
  }

  @Test func `a part that another one holds is left alone, and one that was taken away gets no name`() throws {
    let (directory, path) = try place(":")
    let target = try TransferTarget(path + "/to", overwrites: false)
    let file = try entry("f", .file(size: 1))
    let part = try self.path(".f.p2pfs-part")
    let first = try PartFile(1, file, in: target, after: .init(part: part), offset: 0)
    #expect(throws: Refusal.self) { try PartFile(2, file, in: target, after: .init(part: part), offset: 0) }
    #expect(throws: Refusal.self) { try target.removePart(part) }
    try first.write(slice([120]), at: 0)
    try shell("cd \(path)/to; mv .f.p2pfs-part away; echo other > .f.p2pfs-part")
    var filesystems = FilesystemTable()
    #expect(throws: Refusal.self) { try first.finish(Digest.hash(of: [120]), synchronizing: &filesystems) }
    #expect(try shell("cd \(path)/to; ls -A; cat .f.p2pfs-part") == ".f.p2pfs-part\naway\nother\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `an empty file that is there may be received again, with and without replacing`() async throws {
    let (directory, path) = try place(": > empty; echo x > x; : > ../to/empty")
    for overwrites in [true, false] {
      let ending = try await transfer(
        [path + "/from/empty", path + "/from/x"], into: path + "/to", overwrites: overwrites)
      #expect(ending.isWhole, "\(ending)")
    }
    try shell("cd \(path); diff -r from to")
    withExtendedLifetime(directory) {}
  }

  @Test func `a part is completed also where a file of that size is to be replaced`() async throws {
    let (directory, path) = try place(
      "head -c 200000 /dev/urandom > a; head -c 200000 /dev/zero > ../to/a; head -c 150000 a > ../to/.a.p2pfs-part")
    let progress = TransferProgress()
    let ending = try await transfer([path + "/from/a"], into: path + "/to", overwrites: true, progress: progress)
    #expect(ending.isWhole && progress.moved == 50_000, "\(ending)")
    try shell("cd \(path); diff -r from to; test ! -e to/.a.p2pfs-part")
    withExtendedLifetime(directory) {}
  }

  @Test func `directories get the permissions they are to have, whatever the umask and an interruption`() throws {
    let (directory, path) = try place(":")
    let target = try TransferTarget(path + "/to", overwrites: false)
    let before = umask(0o077)
    defer { umask(before) }
    for (name, mode, meanwhile) in [("plain", 0o775, "775"), ("locked", 0o555, "1755")] as [(String, UInt32, String)] {
      let entry = try entry(name, .directory, mode: mode)
      #expect(try target.makeDirectory(entry) == mode)
      #expect(try shell("stat -c %a \(path)/to/\(name)") == meanwhile + "\n")
      // After an interruption, and after a whole run.
      #expect(try target.makeDirectory(entry) == (name == "plain" ? nil : mode))
      try shell("chmod \(String(mode, radix: 8)) \(path)/to/\(name)")
      #expect(try target.makeDirectory(entry) == (name == "plain" ? nil : mode))
      #expect(try shell("stat -c %a \(path)/to/\(name)") == meanwhile + "\n")
    }
    // One of the user's keeps what it has.
    try shell("mkdir -m 755 \(path)/to/own; mkdir -m 700 \(path)/to/private")
    #expect(try target.makeDirectory(try entry("own", .directory, mode: 0o555)) == nil)
    #expect(try target.makeDirectory(try entry("private", .directory, mode: 0o755)) == nil)
    #expect(try shell("stat -c %a \(path)/to/own \(path)/to/private") == "755\n700\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `what is in a locked directory comes with the next run`() async throws {
    let (directory, path) = try place("mkdir t; echo a > t/a; chmod 555 t")
    let first = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(first.isWhole, "\(first)")
    try shell("cd \(path)/from; chmod 755 t; echo b > t/b; chmod 555 t")
    let second = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(second.isWhole, "\(second)")
    #expect(try shell("cd \(path)/to; stat -c %a t; cat t/b") == "555\nb\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `a part that nobody may write is opened all the same`() throws {
    let (directory, path) = try place("echo xx > ../to/.f.p2pfs-part; chmod 0 ../to/.f.p2pfs-part")
    let target = try TransferTarget(path + "/to", overwrites: false)
    let part = try target.part(for: try self.path("f")).path
    #expect(try target.open(part, [.read, .write]).rawValue >= 0)
    withExtendedLifetime(directory) {}
  }

  @Test func `the time of a directory that was there and is not ours to change is no problem`() async throws {
    let (directory, path) = try place("mkdir -p t/sub; mkdir ../to/t; chattr +a ../to/t")
    defer { _ = try? shell("chattr -a \(path)/to/t") }
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(ending.isWhole, "\(ending)")
    #expect(try shell("ls \(path)/to/t") == "sub\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `a directory of ours whose mode cannot be set is named`() async throws {
    let (directory, path) = try place("mkdir t; chmod 555 t; mkdir -m 1755 ../to/t; chattr +a ../to/t")
    defer { _ = try? shell("chattr -a \(path)/to/t") }
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(ending.problems.sender.paths == ["t"] && ending.problems.receiver.paths == ["t"], "\(ending)")
    #expect(ending.problems.receiver.reasons.contains("mode and time"))
    withExtendedLifetime(directory) {}
  }
}

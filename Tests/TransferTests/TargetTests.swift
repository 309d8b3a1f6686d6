import P2PFSCore
import P2PFSExport
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSTransfer

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
    #expect(throws: EntryRefusal.self) { try PartFile(2, file, in: target, after: .init(part: part), offset: 0) }
    #expect(throws: EntryRefusal.self) { try target.removePart(part) }
    try first.write(slice([120]), at: 0)
    try shell("cd \(path)/to; mv .f.p2pfs-part away; echo other > .f.p2pfs-part")
    var filesystems = FilesystemTable()
    #expect(throws: EntryRefusal.self) { try first.finish(Digest.hash(of: [120]), synchronizing: &filesystems) }
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

  @Test func `directories get the permissions they are to have, whatever an interruption leaves`() throws {
    let (directory, path) = try place(":")
    let target = try TransferTarget(path + "/to", overwrites: false, umask: 0)
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

  @Test(arguments: [(0o077, "700 600\n"), (0o027, "750 640\n"), (0, "777 666\n")] as [(UInt32, String)])
  func `what is received gets no permission that the umask takes`(_ umask: UInt32, _ modes: String) throws {
    let (directory, path) = try place(":")
    let target = try TransferTarget(path + "/to", overwrites: false, umask: umask)
    let made = try target.makeDirectory(try entry("d", .directory, mode: 0o777))
    #expect(made == 0o777 & ~umask)
    let file = try PartFile(
      1, try entry("f", .file(size: 0), mode: 0o666), in: target, after: .init(part: try self.path(".f.p2pfs-part")),
      offset: 0)
    var filesystems = FilesystemTable()
    #expect(try file.finish(Digest.hash(of: []), synchronizing: &filesystems) == nil)
    #expect(try shell("cd \(path)/to; echo $(stat -c %a d f)") == modes)
    withExtendedLifetime(directory) {}
  }

  @Test func `the umask of the process is known without changing it`() throws {
    #expect(
      try shell("umask") == String(repeating: "0", count: 4 - String(ProcessUmask.ofProcess, radix: 8).count)
        + String(ProcessUmask.ofProcess, radix: 8) + "\n")
  }

  @Test func `a part of another user, or one that others may write, is not gone on with`() async throws {
    let (directory, path) = try place(
      """
      for f in foreign loose mine; do head -c 200000 /dev/urandom > $f; head -c 150000 $f > ../to/.$f.p2pfs-part; done
      chmod 666 ../to/.foreign.p2pfs-part ../to/.loose.p2pfs-part; chown 65534 ../to/.foreign.p2pfs-part
      """)
    // Who had it open writes to what has lost its name.
    let held = open(path + "/to/.foreign.p2pfs-part", O_WRONLY | O_CLOEXEC)
    defer { close(held) }
    let progress = TransferProgress()
    let ending = try await transfer(
      ["foreign", "loose", "mine"].map { "\(path)/from/\($0)" }, into: path + "/to", progress: progress)
    #expect(ending.isWhole && progress.moved == 450_000, "\(ending) \(progress.moved)")
    #expect(write(held, "changed", 7) == 7)
    #expect(try shell("cd \(path); diff -r from to; stat -c '%u %a' to/foreign to/loose") == "0 644\n0 644\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `a part of another user that cannot be removed keeps its file from coming`() throws {
    let (directory, path) = try place("cd ../to; : > .f.p2pfs-part; chown 65534 .f.p2pfs-part; chattr +i .f.p2pfs-part")
    defer { _ = try? shell("chattr -i \(path)/to/.f.p2pfs-part") }
    let target = try TransferTarget(path + "/to", overwrites: false)
    let file = try entry("f", .file(size: 1))
    let part = try self.path(".f.p2pfs-part")
    do {
      _ = try PartFile(1, file, in: target, after: .init(part: part), offset: 0)
      Issue.record("taken")
    } catch let refusal as EntryRefusal {
      #expect(refusal.reason == EntryRefusal.isForeignPart.reason)
    }
    withExtendedLifetime(directory) {}
  }

  @Test func `a directory that another user has put where everybody may is not filled`() throws {
    let (directory, path) = try place("chmod 1777 ../to; mkdir -m 777 ../to/d ../to/own; chown 65534 ../to/d")
    let target = try TransferTarget(path + "/to", overwrites: false)
    do {
      _ = try target.makeDirectory(try entry("d", .directory, mode: 0o755))
      Issue.record("taken")
    } catch let refusal as EntryRefusal {
      #expect(refusal.reason == EntryRefusal.isForeign.reason)
    }
    #expect(try target.makeDirectory(try entry("own", .directory, mode: 0o755)) == nil)
    // Where not everybody may, it is somebody's whom the user trusts.
    try shell("chmod 775 \(path)/to")
    #expect(try target.makeDirectory(try entry("d", .directory, mode: 0o755)) == nil)
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

import Glibc
import P2PFSCore
import P2PFSWire
import Rig
import SystemPackage
import Testing

@testable import P2PFSExport

/// Requests that say which directory, or which file, they mean, where another one is by now; `walking` without openat2.
@Suite struct PlaceTests {
  /// A share in which `d`, with `f`, `s` and `l` in it, was moved to `old`, and a new `d` with the same names made.
  private struct Moved {
    let e: Exported
    let old: FileIdentity
    let new: FileIdentity
    let file: FileIdentity

    init(walking: Bool = false) throws {
      let e = try Exported(walking: walking)
      func fill(_ text: String) throws {
        mkdir(e.local("d").string, 0o755)
        mkdir(e.local("d/s").string, 0o755)
        try place(text, at: e.local("d/f"))
        symlink("f", e.local("d/l").string)
      }
      func identity(_ name: String) throws -> FileIdentity {
        try e.peer.done(.lookup(.path(path(name)))).attributes().identity
      }
      try fill("old")
      (old, file) = (try identity("d"), try identity("d/f"))
      #expect(Glibc.rename(e.local("d").string, e.local("old").string) == 0)
      try fill("precious")
      new = try identity("d")
      self.e = e
    }

    func at(_ name: String, in directory: FileIdentity, file: FileIdentity? = nil) throws -> Place {
      Place(try path("d/" + name), in: directory, file: file)
    }

    /// All that changes a name in `directory`, or finds one.
    func requests(in directory: FileIdentity) throws -> [Request] {
      let handles = (0..<4).map { _ in e.peer.newHandle() }
      let elsewhere = Place(try path("elsewhere"))
      return [
        .lookup(.path(try at("f", in: directory))), .setattr(.path(try at("f", in: directory)), .init(size: 0)),
        .open(handles[0], .path(try at("f", in: directory)), [.read, .write], prefetch: 100),
        .open(handles[1], .path(try at("f", in: directory)), [.write, .truncate], prefetch: 0),
        .create(handles[2], try at("f", in: directory), [.write, .truncate], mode: 0o644),
        .create(handles[3], try at("c", in: directory), [.write, .exclusive], mode: 0o644),
        .symlink(try at("y", in: directory), target: [65]),
        .link(existing: .path(try at("f", in: directory)), elsewhere),
        .link(existing: .path(try path("old/f")), try at("h", in: directory)),
        .mkdir(try at("m", in: directory), mode: 0o755), .mknod(try at("n", in: directory), mode: 0o010644),
        .rename(try at("f", in: directory), to: elsewhere, .replace),
        .rename(Place(try path("old/f")), to: try at("f", in: directory), .replace),
        .rename(Place(try path("old/f")), to: try at("f", in: directory), .exchange),
        .unlink(try at("f", in: directory)), .unlink(try at("l", in: directory)), .rmdir(try at("s", in: directory)),
        .list(e.peer.newHandle(), Place(try path("d"), file: directory), cookie: 0),
      ]
    }
  }

  @Test(arguments: [false, true]) func `nothing is changed in a directory that is another one`(walking: Bool) throws {
    let moved = try Moved(walking: walking)
    for request in try moved.requests(in: moved.old) {
      #expect(try moved.e.peer.error(request) == .staleNFSFileHandle, "\(request)")
    }
    #expect(try moved.e.peer.list(path("d")).map(\.name).count == 3)
    #expect(contents(moved.e.local("d/f")) == Array("precious".utf8))
    #expect(contents(moved.e.local("old/f")) == Array("old".utf8))
    #expect(access(moved.e.local("elsewhere").string, F_OK) != 0)
  }

  @Test(arguments: [false, true]) func `what is done in the directory that is meant is done`(walking: Bool) throws {
    for number in 0..<18 {
      let moved = try Moved(walking: walking)
      let request = try moved.requests(in: moved.new)[number]
      #expect(try moved.e.peer.error(request) == nil, "\(request)")
    }
  }

  @Test(arguments: [false, true]) func `a file that is another one keeps its attributes and contents`(walking: Bool)
    throws
  {
    let moved = try Moved(walking: walking)
    let p = try path("d/f")
    usleep(20_000)
    let before = try moved.e.peer.done(.lookup(.path(p))).attributes()
    let other = Place(p, file: moved.file)
    for request: Request in [
      .setattr(.path(other), .init(mode: 0o600, size: 1, modified: .now)), .link(existing: .path(other), try path("k")),
      .open(moved.e.peer.newHandle(), .path(other), [.write, .truncate], prefetch: 0), .lookup(.path(other)),
    ] {
      #expect(try moved.e.peer.error(request) == .staleNFSFileHandle)
    }
    #expect(try moved.e.peer.done(.lookup(.path(p))).attributes() == before)
    let same = Place(p, file: before.identity)
    #expect(try moved.e.peer.done(.setattr(.path(same), .init(mode: 0o600))).attributes().mode == 0o100600)
  }

  @Test func `what is changed first on an overlay stays what it is`() throws {
    let e = try Exported()
    for name in ["lower", "lower/d", "upper", "work", "merged"] { mkdir(e.local(name).string, 0o755) }
    try place("x", at: e.local("lower/d/f"))
    let layers = "lowerdir=\(e.local("lower")),upperdir=\(e.local("upper")),workdir=\(e.local("work"))"
    try #require(mount("overlay", e.local("merged").string, "overlay", 0, layers) == 0, "no overlay: errno \(errno)")
    defer { umount2(e.local("merged").string, 2) }
    func identity(_ name: String) throws -> FileIdentity {
      try e.peer.done(.lookup(.path(path(name)))).attributes().identity
    }
    let (directory, file) = (try identity("merged/d"), try identity("merged/d/f"))
    try e.peer.done(.mkdir(Place(try path("merged/d/new"), in: directory), mode: 0o755))
    try e.peer.done(.setattr(.path(Place(try path("merged/d/f"), file: file)), .init(mode: 0o600)))
    #expect(try identity("merged/d") == directory && identity("merged/d/f") == file)
    try e.peer.done(.rmdir(Place(try path("merged/d/new"), in: directory)))
  }

  @Test func `a file and a directory of forged identities are refused, the root is what it is`() throws {
    let e = try Exported()
    try place("x", at: e.local("f"))
    let forged = FileIdentity(device: .max, inode: 0, generation: .max)
    #expect(try e.peer.error(.unlink(Place(try path("f"), in: forged))) == .staleNFSFileHandle)
    #expect(try e.peer.error(.lookup(.path(Place(.root, file: forged)))) == .staleNFSFileHandle)
    #expect(try e.peer.error(.lookup(.path(Place(.root, in: forged)))) == nil)
    #expect(try e.peer.error(.mkdir(Place(.root, in: forged), mode: 0)) == .fileExists)
    #expect(contents(e.local("f")) == [120])
  }
}

import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// What p2pfs keeps for itself beneath an exported directory, as in a home.
@Suite(.onThreads) struct OwnDirectoriesTests {
  private struct Home {
    let directory: TemporaryDirectory
    let peer: Peer
    var path: String { directory.path.string }

    /// - Parameter prepare: what is there before the export starts.
    init(_ own: [String] = [".local/state/p2pfs"], prepare: (String) throws -> Void = { _ in }) throws {
      directory = try TemporaryDirectory()
      let home = directory.path.string
      try prepare(home)
      let confined = try ConfinedDirectory(directory.path, barring: own.map { "\(home)/\($0)" })
      peer = Peer(Share(confined, readOnly: false))
    }

    func error(_ request: Request) throws -> Errno? { try peer.ask(request).error }
  }

  private static func makeState(_ home: String) throws {
    for name in [".local", ".local/state", ".local/state/p2pfs", ".local/state/p2pfs/exports", "dir"] {
      guard mkdir("\(home)/\(name)", 0o755) == 0 else { throw Errno(rawValue: errno) }
    }
    try place("secret", at: FilePath("\(home)/.local/state/p2pfs/exports/code"))
    try place("mine", at: FilePath("\(home)/.local/state/f"))
    try place("mine", at: FilePath("\(home)/f"))
  }

  @Test func `p2pfs's own directory looks empty, and takes nothing`() throws {
    let home = try Home(prepare: Self.makeState)
    let own = try path(".local/state/p2pfs")
    let entries = try home.peer.list(path(".local/state"))
    #expect(Set(entries.map { String(decoding: $0.name, as: UTF8.self) }) == ["p2pfs", "f"])
    #expect(entries.first { $0.name == Array("p2pfs".utf8) }?.attributes?.mode == 0o040555)
    #expect(try home.peer.done(.lookup(.path(own))).attributes().mode == 0o040555)
    #expect(try home.peer.list(own).isEmpty)
    for inside in [".local/state/p2pfs/exports", ".local/state/p2pfs/exports/code", ".local/state/p2pfs/new"] {
      for frame in Forged.frames(path: Array(inside.utf8), good: Array("f".utf8), handle: 1_000) {
        #expect(try #require(home.peer.wait(home.peer.begin(frame))).error == .notPermitted)
      }
    }
    #expect(try home.error(.setattr(.path(own), AttributeChanges(mode: 0o777))) == .notPermitted)
    #expect(try home.error(.link(existing: .path(path(".local/state/p2pfs/exports/code")), path("l"))) == .notPermitted)
    // Beside it all is as ever.
    #expect(try home.peer.read(home.peer.open(path(".local/state/f"))) == Array("mine".utf8))
    #expect(try home.peer.read(home.peer.open(path("f"))) == Array("mine".utf8))
  }

  @Test(arguments: [true, false]) func `it is hidden, too, where a link or a mount brings it in`(isLink: Bool) throws {
    let user = try TemporaryDirectory()
    let elsewhere = user.path.string
    let shared = try TemporaryDirectory()
    let share = shared.path.string
    let path: String
    if isLink {
      for name in ["state", "state/p2pfs", "state/p2pfs/exports"] { mkdir("\(share)/\(name)", 0o755) }
      mkdir("\(elsewhere)/.local", 0o755)
      #expect(symlink("\(share)/state", "\(elsewhere)/.local/state") == 0)
      path = "\(elsewhere)/.local/state/p2pfs"
    } else {
      for name in ["state", "state/p2pfs", "state/p2pfs/exports"] { mkdir("\(elsewhere)/\(name)", 0o755) }
      mkdir("\(share)/state", 0o755)
      #expect(mount("\(elsewhere)/state", "\(share)/state", nil, UInt(MS_BIND), nil) == 0)
      path = "\(elsewhere)/state/p2pfs"
    }
    defer { if !isLink { umount2("\(share)/state", 2) } }
    let confined = try ConfinedDirectory(shared.path, barring: [path])
    let peer = Peer(Share(confined, readOnly: false))
    #expect(try peer.list(Path(Array("state/p2pfs".utf8))).isEmpty)
    let inside = try Path(Array("state/p2pfs/exports".utf8))
    #expect(try peer.ask(.lookup(.path(inside))).error == .notPermitted)
  }

  @Test func `neither it nor what leads to it can be taken away or replaced`() throws {
    let home = try Home(prepare: Self.makeState)
    for name in [".local", ".local/state", ".local/state/p2pfs"] {
      let kept = try path(name)
      #expect(try home.error(.rename(kept, to: path("elsewhere"), .replace)) == .resourceBusy)
      #expect(try home.error(.rename(kept, to: path("elsewhere"), .noReplace)) == .resourceBusy)
      for mode in [RenameMode.replace, .exchange] {
        #expect(try home.error(.rename(path("dir"), to: kept, mode)) == .resourceBusy)
      }
      #expect(try home.error(.rename(kept, to: path("dir"), .exchange)) == .resourceBusy)
      #expect(try home.error(.rmdir(kept)) == .resourceBusy)
      #expect(try home.error(.mkdir(kept, mode: 0o777)) == .fileExists)
      #expect(try home.error(.symlink(kept, target: Array("dir".utf8))) == .fileExists)
    }
    // What only stands beside.
    try home.peer.done(.rename(path(".local/state/f"), to: path("dir/f"), .replace))
    try home.peer.done(.rename(path("dir"), to: path(".local/dir"), .replace))
  }

  @Test func `moved by the user it stays hidden`() throws {
    let home = try Home(prepare: Self.makeState)
    #expect(rename("\(home.path)/.local", "\(home.path)/old") == 0)
    #expect(try home.error(.lookup(.path(path("old/state/p2pfs/exports/code")))) == .notPermitted)
    #expect(try home.peer.list(path("old/state/p2pfs")).isEmpty)
    #expect(rename("\(home.path)/old/state/p2pfs", "\(home.path)/shown") == 0)
    #expect(try home.error(.lookup(.path(path("shown/exports")))) == .notPermitted)
  }

  @Test func `one that is not there yet is made, so that no peer makes it`() throws {
    let home = try Home([".config/p2pfs"])
    #expect(try home.peer.list(path(".config/p2pfs")).isEmpty)
    #expect(
      try home.error(.create(home.peer.newHandle(), path(".config/p2pfs/p2pfs.toml"), .write, mode: 0o644))
        == .notPermitted)
    #expect(try home.error(.rmdir(path(".config/p2pfs"))) == .resourceBusy)
    var status = stat()
    #expect(stat("\(home.path)/.config/p2pfs", &status) == 0 && status.st_mode & 0o777 == 0o700)
  }

  @Test func `a link that leads to it keeps its name`() throws {
    let home = try Home(prepare: { home in
      try Self.makeState(home)
      #expect(rename("\(home)/.local/state", "\(home)/dir/real") == 0)
      #expect(symlink("../dir/real", "\(home)/.local/state") == 0)
    })
    #expect(try home.error(.unlink(path(".local/state"))) == .resourceBusy)
    #expect(try home.error(.rename(path(".local/state"), to: path("x"), .replace)) == .resourceBusy)
    #expect(try home.error(.rename(path("dir"), to: path("x"), .replace)) == .resourceBusy)
    #expect(try home.error(.lookup(.path(path("dir/real/p2pfs/exports")))) == .notPermitted)
  }

  @Test func `an export without it is not resolved slowly, and it cannot be exported itself`() throws {
    let (one, other) = (try TemporaryDirectory(), try TemporaryDirectory())
    let own = other.path.string + "/p2pfs"
    #expect(try ConfinedDirectory(one.path, barring: [own]).own.isEmpty)
    #expect(access(own, F_OK) != 0)
    try Self.makeState(one.path.string)
    for name in [".local/state/p2pfs", ".local/state/p2pfs/exports"] {
      #expect(throws: Errno.resourceBusy) {
        try ConfinedDirectory(one.path.appending(name), barring: [one.path.string + "/.local/state/p2pfs"])
      }
    }
  }
}

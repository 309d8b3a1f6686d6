import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// What attributes say of the exporter's user's rights agrees with what the kernel lets that user do. Needs root, which
/// becomes others for a moment, on a thread of its own.
@Suite(.onThreads) struct RightsTests {
  /// What `body` gives on a thread with the rights of `user`, and of the groups.
  private func on(_ user: uid_t, groups: [gid_t], _ body: @escaping @Sendable () -> String) throws -> String {
    let result = Mutex("")
    let box = Box(result)
    try withThread {
      // The raw system calls concern this thread alone.
      var groups = groups
      _ = p2pfs_become(user, &groups, CInt(groups.count))
      box.set(body())
    } during: {
    }
    return box.value
  }

  private final class Box: Sendable {
    private let state: Mutex<String>
    init(_ state: consuming Mutex<String>) { self.state = state }
    var value: String { state.withLock { $0 } }
    func set(_ text: String) { state.withLock { $0 = text } }
  }

  @Test(arguments: [0, 65_534, 1_234] as [uid_t])
  func `rights are those that the kernel grants`(user: uid_t) throws {
    let directory = try TemporaryDirectory()
    #expect(chmod(directory.path.string, 0o755) == 0)
    var names: [String] = []
    for mode in [0o000, 0o444, 0o640, 0o604, 0o755, 0o700, 0o070, 0o007, 0o200, 0o711] as [mode_t] {
      for (owner, group) in [(0, 0), (1_234, 0), (0, 5_678), (1_234, 5_678), (0, 65_534)] as [(uid_t, gid_t)] {
        let (file, folder) = ("f\(mode)-\(owner)-\(group)", "d\(mode)-\(owner)-\(group)")
        try place("x", at: directory.path.appending(file))
        #expect(mkdir(directory.path.appending(folder).string, 0o755) == 0)
        for name in [file, folder] {
          let path = directory.path.appending(name).string
          #expect(chown(path, owner, group) == 0 && chmod(path, mode) == 0)
        }
        names += [file, folder]
      }
    }
    // An access control list that grants, and one that takes away.
    for (name, acl) in [("acl1", "u:1234:rw,m::rw"), ("acl2", "u:1234:-,m::rwx")] {
      let path = directory.path.appending(name)
      try place("x", at: path, mode: 0o644)
      try #require(run(["/usr/bin/setfacl", "-m", acl, path.string]) == 0, "setfacl(1), of the package acl")
      names.append(name)
    }
    let (root, all) = (directory.path, names)
    let wrong = try on(user, groups: [5_678]) {
      if user == 0 { _ = p2pfs_keep_capabilities(WorkerConfinement.capabilities, 0) }
      let credentials = Credentials()
      return all.filter { name in
        let path = root.appending(name).string
        var expected: Attributes.Rights = []
        for bit: UInt8 in [1, 2, 4] where p2pfs_may(AT_FDCWD, path, CInt(bit)) == 0 {
          expected.insert(Attributes.Rights(rawValue: bit))
        }
        guard let status = try? FileStatus(AT_FDCWD, path) else { return true }
        if user == 0 || status.owner == user { expected.insert(.owner) }
        return credentials.rights(of: status, AT_FDCWD, path) != expected
      }.joined(separator: " ")
    }
    #expect(wrong == "")
  }

  @Test func `what cannot be changed by anybody says so`() throws {
    let e = try Exported()
    try place("x", at: e.local("f"))
    #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().rights == [.read, .write, .owner])
    #expect(try e.peer.done(.lookup(.path(.root))).attributes().rights == [.read, .write, .execute, .owner])
    if run(["/usr/bin/chattr", "+i", e.local("f").string]) == 0 {
      defer { _ = run(["/usr/bin/chattr", "-i", e.local("f").string]) }
      #expect(try e.peer.done(.lookup(.path(path("f")))).attributes().rights == [.read, .owner])
    }
    #expect(mkdir(e.local("m").string, 0o755) == 0)
    let mounted = try Mounted("tmpfs", at: e.local("m"), options: "size=1m")
    try place("x", at: e.local("m/f"))
    try mounted.remountReadOnly()
    #expect(try e.peer.done(.lookup(.path(path("m/f")))).attributes().rights == [.read, .owner])
    #expect(try e.peer.list(path("m"))[0].attributes?.rights == [.read, .owner])
  }

  @Test(arguments: [false, true]) func `a tree deeper than PATH_MAX is made, moved and removed`(walking: Bool) throws {
    let e = try Exported(walking: walking)
    let name = Array("confdir3confdir3confdir3".utf8)
    var directories = [Path.root]
    for _ in 0..<300 {
      directories.append(try directories[directories.count - 1].appending(name))
      try e.peer.done(.mkdir(directories[directories.count - 1], mode: 0o755))
    }
    let deepest = directories[300]
    #expect(deepest.bytes.count > 7_000)
    let handle = try e.peer.create(deepest.appending(Array("f".utf8)))
    try e.peer.write(handle, "deep")
    #expect(try e.peer.list(deepest).map(\.name) == [Array("f".utf8)])
    try e.peer.done(.rename(deepest.appending(Array("f".utf8)), to: directories[299].appending([103]), .replace))
    try e.peer.done(.rename(directories[299].appending([103]), to: path("up"), .replace))
    #expect(contents(e.local("up")) == Array("deep".utf8))
    // A link on the way is refused wherever it lies.
    for (depth, link) in [(0, "l"), (163, "confdir3confdir3confdir4")] {
      let planted = try directories[depth].appending(Array(link.utf8))
      try e.peer.done(.symlink(planted, target: Array("confdir3confdir3confdir3".utf8)))
      var through = planted
      while through.bytes.count < 7_000 { through = try through.appending(name) }
      #expect(try e.peer.error(.lookup(.path(through))) == .tooManySymbolicLinkLevels)
      try e.peer.done(.unlink(planted))
    }
    for directory in directories.dropFirst().reversed() { try e.peer.done(.rmdir(directory)) }
    #expect(try e.peer.list(.root).count == 1)
  }
}

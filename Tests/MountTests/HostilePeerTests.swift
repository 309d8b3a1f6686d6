import P2PFSCore
import P2PFSFUSE
import Glibc
import Logging
import Rig
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSMount

/// A mount of a peer that does what it likes.
final class HostileMount: Sendable {
  let peer: ScriptedPeer
  let place: TemporaryDirectory
  let mount: Mount
  private let watchdog: Watchdog

  init(_ options: String = "", deadline: Double = 30, _ script: @escaping ScriptedPeer.Script) async throws {
    guard access("/dev/fuse", R_OK | W_OK) == 0 else { throw MissingDevice() }
    peer = ScriptedPeer { request in
      if case .lookup(.path(let place)) = request, place.path.isRoot { return [.told(.root)] }
      return script(request)
    }
    place = try TemporaryDirectory()
    var parsed = MountOptions()
    try parsed.apply(options)
    mount = try await Mount.start(
      peer, on: place.path.string, options: parsed, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    watchdog = Watchdog(mount.mountpoint, seconds: deadline)
  }

  deinit {
    peer.expire()
    watchdog.stop()
    mount.unmount()
  }

  var path: FilePath { FilePath(mount.mountpoint) }
}

@Suite(.onThreads, .serialized) struct HostilePeerTests {
  @Test func `names that cannot be are left out of a listing, and doubles`() async throws {
    let file = Attributes.made(.regular, inode: 11)
    let mount = try await HostileMount { request in
      guard case .list = request else { return [.failed(.noSuchFileOrDirectory)] }
      return [
        .page([
          ("good", file), ("a/b", file), ("", file), (".", file), ("..", file), ("good", file), ("nul\0", file),
          (String(repeating: "x", count: 256), file), ("bare", nil),
        ])
      ]
    }
    let result = shell("ls -a \(mount.path) 2>/dev/null")
    #expect(result.output == ".\n..\nbare\ngood\n")
  }

  @Test func `a listing without an end ends with an error`() async throws {
    let mount = try await HostileMount { request in
      guard case .list = request else { return [.failed(.noSuchFileOrDirectory)] }
      return [.page([("same", nil)], next: 1, isEnd: false)]
    }
    #expect(shell("ls \(mount.path)").status != 0)
    #expect(mount.peer.count(.list) < 200)
  }

  @Test(arguments: [0, 1, 2, 3, 4]) func `contents that were not asked for are an error`(_ trick: Int) async throws {
    let file = Attributes.made(.regular, inode: 11, size: 300_000)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.told(file)]
      case .open: return [.told(file)]
      case .read(_, let offset, let count):
        switch trick {
        case 0: return [.piece(offset + 1, [1, 2, 3])]
        case 1:
          return (0..<40).map { .piece(offset + $0 * 32_768, [UInt8](repeating: 1, count: 32_768), isLast: $0 == 39) }
        case 2: return [.piece(offset + 4096, [1], isLast: false), .piece(offset, [1])]
        case 3: return [.with { $0.write(7 as UInt32) }]
        default: return [.piece(offset, [UInt8](repeating: 1, count: Int(count) + 1))]
        }
      default: return [.done]
      }
    }
    let result = shell("cat \(mount.path)/f > /dev/null")
    #expect(result.status != 0)
    #expect(result.output.contains("Input/output error"))
  }

  @Test func `a directory that claims to be its parent is another one here`() async throws {
    let mount = try await HostileMount { request in
      switch request {
      case .list(_, let place, _):
        return place.path.components.count > 3 ? [.page([])] : [.page([("d", .root)])]
      case .lookup: return [.told(.root)]
      default: return [.done]
      }
    }
    let result = shell("find \(mount.path) -printf \"%i \"; echo; find \(mount.path) | wc -l")
    #expect(result.status == 0, "\(result.output)")
    let lines = result.output.split(separator: "\n")
    #expect(lines.last == "5")
    #expect(Set(lines[0].split(separator: " ")).count == 5)
  }

  @Test func `symbolic links out of the share do not show, those inside do`() async throws {
    let targets: [String: String] = [
      "abs": "/etc/passwd", "up": "../x", "down": "d/x", "loop": "d/../../etc", "self": "./d", "sly": "d/..",
    ]
    let link = Attributes.made(.symbolicLink, inode: 11, size: 5, mode: 0o777)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.told(link)]
      case .readlink(let path):
        let target = targets[String(decoding: path.bytes, as: UTF8.self)] ?? ""
        return [.with { frame in Array(target.utf8).withUnsafeBytes { frame.write($0) } }]
      default: return [.done]
      }
    }
    for (name, isShown) in [
      ("abs", false), ("up", false), ("down", true), ("loop", false), ("self", true), ("sly", false),
    ] {
      var buffer = [CChar](repeating: 0, count: 100)
      let count = readlink(mount.path.appending(name).string, &buffer, 100)
      let error = errno
      #expect((count > 0) == isShown, "\(name)")
      if !isShown { #expect(error == EPERM, "\(name)") }
    }
  }

  @Test func `a read without an answer is interrupted, a change is not while the peer is there`() async throws {
    let file = Attributes.made(.regular, inode: 11, size: 100)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.told(file)]
      case .open: return [.told(file)]
      case .list: return nil
      case .mkdir, .read: return nil
      default: return [.done]
      }
    }
    // timeout(1) asks with SIGINT; a process that does not end is killed after five seconds more, with status 137.
    #expect(shell("timeout -s INT -k 5 0.2 cat \(mount.path)/f").status == 124)
    #expect(shell("timeout -s INT -k 5 0.2 ls \(mount.path)").status == 124)
    // SIGKILL ends even a change: nobody is left to be told.
    #expect(shell("timeout -s KILL 0.2 mkdir \(mount.path)/d; timeout 3 true").status == 0)
  }

  @Test func `without the peer a killed process is gone at once`() async throws {
    let mount = try await HostileMount { request in
      if case .mkdir = request { return nil }
      return [.failed(.noSuchFileOrDirectory)]
    }
    mount.peer.vanish()
    let before = Instant.now
    _ = shell("timeout -s INT -k 5 0.2 mkdir \(mount.path)/d")
    #expect(Instant.now.seconds(since: before) < 5)
  }

  @Test func `what cannot be written is told at the next write, at fsync or at close`() async throws {
    let file = Attributes.made(.regular, inode: 11)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup: return [.failed(.noSuchFileOrDirectory)]
      case .create: return [.told(file)]
      case .open: return [.told(file)]
      case .write: return nil
      default: return [.done]
      }
    }
    let path = mount.path.appending("f").string
    for ending in 0..<2 {
      let descriptor = open(path, O_WRONLY | O_CREAT, 0o644)
      #expect(descriptor >= 0)
      #expect(Glibc.write(descriptor, "x", 1) == 1)
      mount.peer.expire()
      if ending == 0 {
        #expect(fsync(descriptor) == -1 && errno == EIO)
        #expect(close(descriptor) == 0)
      } else {
        #expect(close(descriptor) == -1 && errno == EIO)
      }
    }
  }

  @Test func `an unmount does not wait for a peer that is away`() async throws {
    let file = Attributes.made(.regular, inode: 11, size: 100)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup, .open: return [.told(file)]
      case .read: return nil
      default: return [.done]
      }
    }
    _ = shell("cat \(mount.path)/f > /dev/null 2>&1 & sleep 0.3")
    mount.peer.vanish()
    mount.mount.unmount()
    #expect(mount.peer.count(.read) > 0)
    #expect(!shell("cat /proc/mounts").output.contains(mount.mount.mountpoint))
  }
}

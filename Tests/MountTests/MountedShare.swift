import P2PFSCore
import P2PFSExport
import P2PFSFUSE
import Glibc
import Logging
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

@testable import P2PFSMount

/// A directory that is exported, and mounted again, over a link in memory: the real exporter, the real session,
/// the kernel's real mount.
///
/// Whatever happens in the test, nothing hangs for long and nothing stays: after `deadline` seconds the kernel is
/// cut off, so that every operation ends.
final class MountedShare: Sendable {
  let exported: TemporaryDirectory
  let place: TemporaryDirectory
  let mount: Mount
  let client: Session
  let server: Session
  private let links: Mutex<(MemoryLink, MemoryLink)>
  private let share: Share
  private let watchdog: Watchdog

  init(_ words: String = "", readOnly: Bool = false, timeout: Double = 30, deadline: Double = 60) async throws {
    guard access("/dev/fuse", R_OK | W_OK) == 0 else { throw MissingDevice() }
    exported = try TemporaryDirectory()
    place = try TemporaryDirectory()
    share = try Share(exported.path, readOnly: readOnly)
    let identity = [UInt8](repeating: 7, count: 16)
    client = Session(Session.Configuration(identity: identity, timeout: timeout))
    server = Session(Session.Configuration(identity: identity, timeout: timeout), responder: share.session())
    let (link, otherLink) = MemoryLink.pair()
    links = Mutex((link, otherLink))
    server.connect(otherLink)
    client.connect(link)
    let client = client
    for _ in 0..<500 where !client.isOnline { usleep(10_000) }
    var options = MountOptions()
    try options.apply(words)
    mount = try await Mount.start(
      client, on: place.path.string, options: options, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    watchdog = Watchdog(mount.mountpoint, seconds: deadline) { client.tick(0.5) }
  }

  deinit {
    watchdog.stop()
    mount.unmount()
    client.end()
    server.end()
    share.stop()
  }

  /// Cuts the connection, with whatever is on its way.
  func cut() { links.withLock { $0.0 }.cut() }

  /// Connects again.
  func reconnect() {
    let new = MemoryLink.pair()
    links.withLock { $0 = new }
    server.connect(new.1)
    client.connect(new.0)
  }

  /// Cuts the connection, and connects again a moment later, from another thread.
  func interrupt() {
    cut()
    _ = Worker("reconnecting") { [self] in
      usleep(20_000)
      reconnect()
    }
  }

  /// The mounted directory.
  var path: FilePath { FilePath(mount.mountpoint) }
}

struct MissingDevice: Error, CustomStringConvertible {
  let description = "these tests need /dev/fuse, and the right to mount"
}

/// Cuts a mount off after some time.
final class Watchdog: Sendable {
  private let mailbox = Mailbox<Int>()

  init(_ mountpoint: String, seconds: Double, everyHalfSecond: @escaping @Sendable () -> Void = {}) {
    _ = Worker("watchdog") { [mailbox] in
      let end = Instant.now.advanced(by: seconds)
      while let messages = mailbox.collect(timeout: 0.5) {
        if !messages.isEmpty { return }
        everyHalfSecond()
        guard Instant.now > end, let entry = MountInfo().visible(at: mountpoint), entry.type == "fuse.p2pfs" else {
          continue
        }
        let file = open("/sys/fs/fuse/connections/\(entry.minor)/abort", O_WRONLY)
        if file >= 0 {
          _ = write(file, "1", 1)
          close(file)
        }
        umount2(mountpoint, 2)
      }
    }
  }

  func stop() { mailbox.close() }
}

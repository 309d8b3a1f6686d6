import P2PFSCore
import P2PFSFUSE
import Glibc
package import Logging
package import P2PFSSession
import Synchronization
import SystemPackage
package import P2PFSWire

/// The peer's folder, mounted here.
///
/// The mount stays when its connection breaks; it ends by `unmount`, or when somebody else unmounts it.
package final class Mount: Sendable {
  /// What could not be written before the mount was taken away.
  package struct Loss: Sendable, Equatable {
    /// Bytes that programs have written, and that the peer has not confirmed.
    package var bytes: Int
    /// Paths of the files, relative to the export, at most `Limits.Mount.lostPaths` of them.
    package var files: [[UInt8]]
    /// Files closed, or still open, of which some writing failed and no program was told.
    package var failures: Int

    /// Nothing is lost.
    package var isEmpty: Bool { bytes == 0 && failures == 0 }

    mutating func note(_ path: [UInt8]) {
      if files.count < Limits.Mount.lostPaths, !files.contains(path) { files.append(path) }
    }
  }

  /// Where it is mounted: absolute, without links.
  package var mountpoint: String { session.mountpoint }

  private let filesystem: PeerFilesystem
  private let session: FUSESession
  private let end: OneShot

  /// Mounts the directory `root` of the peer's export on `mountpoint`, and returns when it is usable.
  ///
  /// The peer must be connected: the folder is looked at before anything is mounted.
  /// - Throws: `MountError`; `Errno` if the peer's folder cannot be looked at (`ENOTDIR` if it is none).
  package static func start(
    _ requester: any Requester, root: Path = .root, on mountpoint: String, options: MountOptions, log: Logger
  ) async throws -> Mount {
    let asked = Instant.now
    let reply = await withCheckedContinuation { continuation in
      requester.send(Request.lookup(.path(root)).encoded(), on: .control) { continuation.resume(returning: $0) }
    }
    let attributes = try PeerFilesystem.attributes(in: reply).get()
    guard attributes.type == .directory else { throw Errno.notDirectory }
    return try Mount(requester, root, attributes, asked, mountpoint, options, log)
  }

  private init(
    _ requester: any Requester, _ root: Path, _ attributes: Attributes, _ asked: Instant, _ mountpoint: String,
    _ options: MountOptions, _ log: Logger
  ) throws(MountError) {
    var options = options
    if requester.isReadOnly { options.isReadOnly = true }
    let end = OneShot()
    self.end = end
    filesystem = PeerFilesystem(
      requester: requester, root: root, attributes: attributes, asked: asked, options: options, log: log,
      ending: { end.fire() })
    do {
      session = try FUSESession(
        filesystem, on: mountpoint,
        FUSESession.Options(
          mount: options.mountWords, maxRead: options.maxRead, followsNoSymlinks: options.followsNoSymlinks))
    } catch {
      filesystem.end()
      throw error
    }
    filesystem.attach(session)
  }

  /// Bytes that programs have written, and that the peer has not confirmed yet.
  package var unwrittenBytes: Int { filesystem.unwritten().bytes }

  /// Waits until what programs have written is written at the peer, or the peer has been away for `timeout`
  /// seconds of it.
  /// - Returns: what is not written by then, which an unmount would lose.
  package func flush(timeout: Double = Limits.Session.timeout) async -> Loss {
    let start = Instant.now
    while true {
      let loss = filesystem.unwritten()
      if loss.bytes == 0 { return loss }
      if !filesystem.requester.isOnline, Instant.now.seconds(since: start) >= timeout { return loss }
      do {
        try await Task.sleep(for: .milliseconds(20))
      } catch {
        return loss
      }
    }
  }

  /// Takes the mount away, now, even if it is in use, and ends everything that belongs to it. Blocks for some
  /// milliseconds. Doing it again does nothing.
  package func unmount() {
    session.unmount()
    filesystem.end()
  }

  /// Waits until the kernel has let go: `unmount`, umount(8), or an abort. `unmount` is still to be called.
  package func waitUntilEnded() async { await end.wait() }
}

extension PeerFilesystem {
  /// What programs have written, and the peer has not confirmed.
  func unwritten() -> Mount.Loss {
    locked { state in
      var loss = Mount.Loss(bytes: 0, files: state.lostPaths, failures: state.lost)
      var seen = Set<UInt64>()
      for file in state.files.values where file.failure.isSecret {
        loss.failures += 1
        if let path = try? state.tree.path(of: file.node) { loss.note(path.bytes) }
      }
      for node in state.tree.writing where seen.insert(node.id).inserted {
        loss.bytes += node.writes.bytes
        if let path = try? state.tree.path(of: node) { loss.note(path.bytes) }
      }
      return loss
    }
  }
}

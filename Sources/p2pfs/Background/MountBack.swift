import P2PFSMeeting
import P2PFSCore
import Logging
import P2PFSMount
import P2PFSSession
import P2PFSWire

/// Mounts what a guest of an export shares back: one guest at a time, the first that does.
actor MountBack {
  private let mountpoint: MountPoint
  private let common: CommonOptions
  private var mounted: Mount?

  init(_ mountpoint: MountPoint, _ common: CommonOptions) {
    self.mountpoint = mountpoint
    self.common = common
  }

  /// Mounts once the guest is there, if it shares something, until it leaves.
  nonisolated func mount(_ session: Session) {
    Task { await serve(session) }
  }

  private func serve(_ session: Session) async {
    for await state in session.states() {
      if state == .online, mounted == nil, session.peerExports { await start(session) }
    }
    if let mounted, mountedSession === session {
      mounted.unmount()
      self.mounted = nil
      mountedSession = nil
    }
  }

  private weak var mountedSession: Session?

  private func start(_ session: Session) async {
    guard mountedSession == nil else { return }
    mountedSession = session
    do {
      var options = MountOptions()
      options.source = "p2pfs"
      mounted = try await Mount.start(
        session, on: mountpoint.path, options: options, log: Logger(label: "p2pfs.mount"))
      common.say("Mounted what the guest shares on \(mountpoint.shown).")
    } catch {
      mountedSession = nil
      Console.say("p2pfs: what the guest shares is not mounted: \(Failure(mounting: error, on: mountpoint).message)")
    }
  }

  /// Takes the mount away, after what is not written has been.
  func unmount() async {
    guard let mounted else { return }
    let loss = await mounted.flush(timeout: 5)
    if !loss.isEmpty { Console.say("p2pfs: lost what was not yet written: \(describe(loss))") }
    mounted.unmount()
    self.mounted = nil
  }
}

/// What an unmount loses, in a few words.
func describe(_ loss: Mount.Loss) -> String {
  var parts: [String] = []
  if loss.bytes > 0 { parts.append("\(counted(loss.bytes, "byte", "bytes")) not written") }
  if loss.failures > 0 { parts.append(counted(loss.failures, "file", "files") + " whose writing failed") }
  let names = loss.files.map { Progress.name($0) }.joined(separator: ", ")
  return parts.joined(separator: ", ") + (names.isEmpty ? "" : " (\(names))")
}

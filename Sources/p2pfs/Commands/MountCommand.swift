import ArgumentParser
import P2PFSCore
import P2PFSExport
import P2PFSFUSE
import Glibc
import Logging
import P2PFSMount
import P2PFSMeeting
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import SystemPackage
import P2PFSTransport
import P2PFSWire

/// `p2pfs mount`.
struct MountCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Mount a folder that another computer shares.",
    discussion: """
      Returns when the mount is usable, and goes on in the background. The code may be left out if P2PFS_CODE has it, \
      or to be asked for it.
      """)

  @Argument(
    help: ArgumentHelp("CODE[@SERVER][:/PATH], then where to mount it.", valueName: "code> <mountpoint"),
    completion: .directory)
  var places: [String]

  @Option(help: ArgumentHelp("The signaling server: host[:port], or a ws:// or wss:// URL.", valueName: "url"))
  var signal: String?

  @Flag(help: "Mount read-only.")
  var readOnly = false

  @Option(help: ArgumentHelp("Share this folder back.", valueName: "dir"), completion: .directory)
  var export: String?

  @Flag(help: "Wait for the other computer, if it does not share yet.")
  var wait = false

  @Flag(name: .shortAndLong, help: "Stay in the foreground.")
  var foreground = false

  @Option(
    name: .short, help: ArgumentHelp("Mount options, with commas between; see p2pfs-mount(1).", valueName: "options"),
    completion: .mountOptions)
  var options: [String] = []

  @OptionGroup var common: CommonOptions

  func run() async throws {
    // Not in `validate`, which would come before what ArgumentParser has to say of options that do not exist.
    guard (1...2).contains(places.count) else {
      throw Failure(
        .usage, "give a code and a mount point, as in: p2pfs mount CODE ~/mnt. See \"p2pfs mount --help\".")
    }
    if Daemon.isChild {
      let parent = try Daemon.Parent()
      do {
        try await serve(code: parent.code, parent: parent)
      } catch let failure as Failure {
        parent.failed(failure)
        throw ExitCode(failure.status.rawValue)
      }
      return
    }
    // What can be known to be wrong is said before anything is started.
    let code = try givenCode()
    _ = try source(code)
    _ = try mountOptions()
    let mountpoint = try MountPoint(places[places.count - 1])
    try mountpoint.checkIsFree()
    if let export { _ = try openShare(export, isReadOnly: true, oneFileSystem: false).0.stop() }
    if foreground {
      try await serve(code: code, parent: nil)
    } else {
      var arguments = Arguments.process.given
      if places.count == 2, let index = arguments.firstIndex(of: places[0]) { arguments[index] = "-" }
      let status = try Daemon.start(arguments: arguments, code: code)
      if status != 0 { throw ExitCode(status) }
    }
  }

  // MARK: - What was given

  private func givenCode() throws(Failure) -> String {
    if places.count == 2, places[0] != "-" { return places[0] }
    if let code = Arguments.process.secret("P2PFS_CODE") { return code }
    guard let code = try Console.ask("Code: ", isSecret: true) else {
      throw Failure(.usage, "no code: give it as CODE, in P2PFS_CODE, or run this on a terminal to be asked for it")
    }
    return code
  }

  private func source(_ text: String) throws(Failure) -> PeerAddress {
    do { return try PeerAddress(parsing: text) } catch { throw GivenCode.failure(error, in: text) }
  }

  private func mountOptions() throws(Failure) -> MountOptions {
    var result = MountOptions()
    for text in options {
      do { try result.apply(text) } catch { throw Failure(.usage, "-o \(Console.escaped("\(error)"))") }
    }
    if readOnly { result.isReadOnly = true }
    return result
  }

  // MARK: - The work

  private func serve(code text: String, parent: Daemon.Parent?) async throws {
    common.startLogging()
    let source = try source(text)
    guard case .code(let code) = source.peer else {
      throw Failure(.usage, GivenCode.noCode(text))
    }
    guard let server = try Settings.server(flag: signal, code: source.server) else {
      throw Failure(.usage, "no signaling server: give CODE@SERVER as p2pfs export shows it, --signal or P2PFS_SIGNAL")
    }
    let root: Path
    do { root = try Path(source.path.pathBytes) } catch {
      throw Failure(
        .usage,
        "\":/\(Console.escaped(source.path))\" is no path inside a share: leave out \".\", \"..\" and empty names")
    }
    let options = try mountOptions()
    let mountpoint = try MountPoint(places[places.count - 1])
    let share = try export.map { directory throws(Failure) in
      try openShare(directory, isReadOnly: false, oneFileSystem: false).0
    }
    defer { share?.stop() }

    var ice = ICEConfiguration()
    ice.includesLoopback = LocalAddress.isLoopback(server.host)
    var meeting = GuestMeeting(server: server, credential: Credential(code), waits: wait, ice: ice)
    let patience = Patience(isShown: Console.isTerminal && !common.quiet) { line in
      if let parent { parent.say(line) } else { Console.say(line) }
    }
    meeting.onStage = { patience.began($0) }
    let work = Task { [meeting, options] () throws -> (JoinedRoom, Mount) in
      var options = options
      let peer: JoinedRoom
      do throws(MeetingError) {
        peer = try await JoinedRoom.meet(meeting, responder: share?.session(), timeout: options.timeout)
      } catch {
        throw Failure(error, server: server)
      }
      guard peer.session.peerExports else {
        await peer.end()
        throw Failure(.noPeer, "the other computer shares nothing")
      }
      if options.source == MountOptions().source {
        options.source = MountCommand.shownSource(address: peer.path.flatMap(addressOfPeer), path: source.path)
      }
      do {
        return (
          peer,
          try await Mount.start(
            peer.session, root: root, on: mountpoint.path, options: options, log: Logger(label: "p2pfs.mount"))
        )
      } catch let error as Errno where !root.isRoot {
        await peer.end()
        throw Failure(root: error, path: source.path)
      } catch {
        await peer.end()
        throw Failure(mounting: error, on: mountpoint)
      }
    }
    let ending = Ending()
    Signals.onFirst { _ in
      work.cancel()
      ending.end()
    }
    defer { patience.end() }
    let (peer, mount) = try await withSignals(work)
    patience.end()
    if Signals.received != 0 {
      mount.unmount()
      await peer.end()
      throw Failure(.interrupted, "interrupted")
    }
    let control: String
    do {
      control = try ControlSocket.serve { request, write in
        switch request {
        case "where": write(mountpoint.path)
        case "umount":
          let users = MountUsers.of(mountpoint.path)
          if users.isEmpty, !MountUsers.isBusy(mountpoint.path) {
            ending.unmount(write)
          } else {
            write("busy " + users.joined(separator: ", "))
          }
        case "umount lazy": ending.unmount(write)
        default: break
        }
      }
    } catch {
      mount.unmount()
      await peer.end()
      throw error
    }
    defer { unlink(control) }
    let ready = "Mounted on \(mountpoint.shown): \(describe(peer.path, peer.session.roundTrip))."
    if let parent { parent.ready(common.quiet ? "" : ready) } else { common.say(ready) }

    let kernel = Task {
      await mount.waitUntilEnded()
      ending.end()
    }
    await ending.wait()
    let watch = Task {
      while !Task.isCancelled {
        ending.report(bytes: mount.unwrittenBytes)
        try? await Task.sleep(for: .milliseconds(100))
      }
    }
    let loss = await mount.flush(timeout: 0)
    watch.cancel()
    mount.unmount()
    await peer.end()
    kernel.cancel()
    ending.finish(loss.isEmpty ? nil : describe(loss))
    if !loss.isEmpty { throw Failure(.failed, "unmounted, but lost: \(describe(loss))") }
  }

  /// What mount(8) and df(1) show as the source, as in `p2pfs:192.0.2.7:/photos`: the peer's address, if its packets come
  /// from there, and the path that was given, cut to `Limits.Mount.source` characters, safe for a terminal.
  static func shownSource(address: String?, path: String) -> String {
    let host = address.map { $0.contains(":") ? "[\($0)]:" : "\($0):" } ?? ""
    return String("p2pfs:\(Console.escaped(host))/\(Console.escaped(path))".unicodeScalars.prefix(Limits.Mount.source))
  }

  /// The result of `work`, or, if a signal comes first, the end of the program's way.
  private func withSignals(_ work: Task<(JoinedRoom, Mount), any Error>) async throws -> (JoinedRoom, Mount) {
    do { return try await work.value } catch {
      if Signals.received != 0 { throw Failure(.interrupted, "interrupted") }
      throw error
    }
  }
}

/// How a mount comes to its end: who asks for it, how far it is, how it went.
final class Ending: Sendable {
  private struct State {
    var isAsked = false
    var waiter: CheckedContinuation<Void, Never>?
    var bytes = 0
    var outcome: String??
  }

  private let state = Mutex(State())

  /// Asks for the end. From any thread, any number of times.
  func end() {
    let waiter = state.withLock { state in
      state.isAsked = true
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Waits until somebody asks.
  func wait() async {
    await withCheckedContinuation { continuation in
      let isAsked = state.withLock { state in
        if !state.isAsked { state.waiter = continuation }
        return state.isAsked
      }
      if isAsked { continuation.resume() }
    }
  }

  /// How much is not yet written.
  func report(bytes: Int) { state.withLock { $0.bytes = bytes } }

  /// It is over; `lost` says what was lost, if anything.
  func finish(_ lost: String?) {
    state.withLock { $0.outcome = .some(lost) }
    // Those who asked through the control socket read it, before the process ends.
    usleep(150_000)
  }

  /// Asks for the end on behalf of another process, and tells it how it goes. Blocks until it is over.
  func unmount(_ write: (String) -> Void) {
    end()
    var told = 0
    while true {
      let (bytes, outcome) = state.withLock { ($0.bytes, $0.outcome) }
      if let outcome {
        write(outcome.map { "lost " + $0 } ?? "done")
        return
      }
      if bytes != told, bytes > 0 {
        told = bytes
        write("waiting \(bytes) bytes")
      }
      usleep(50_000)
    }
  }
}

extension Failure {
  /// Why nothing was mounted on a place that is free.
  init(mounting error: any Error, on mountpoint: MountPoint) {
    // A `MountError` names the place by itself.
    let place = error is MountError ? "" : "cannot mount on \(mountpoint.shown): "
    self.init(.notMounted, place + Console.escaped("\(error)"))
  }

  /// Why a folder of the share cannot be mounted.
  init(root error: Errno, path: String) {
    let place = "\":/\(Console.escaped(path))\""
    switch error {
    case .notDirectory:
      self.init(.notMounted, "\(place) is a file on the other computer: mount the folder that it is in")
    case .noSuchFileOrDirectory:
      self.init(.notMounted, "there is no folder \(place) in what the other computer shares: No such file or directory")
    default: self.init(.notMounted, "the folder \(place) on the other computer cannot be mounted: \(error)")
    }
  }
}

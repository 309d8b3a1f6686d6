import ArgumentParser
import Core
import Export
import Glibc
import Logging
import P2PFS
import Pairing
import Session
import Signaling
import SystemPackage
import Transport

/// `p2pfs export`.
struct ExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Share a folder, until Ctrl-C.",
    discussion: """
      Prints the command that mounts the folder on another computer. Without --signal, a signaling server is started \
      on this computer: enough for two computers in one network, or for one alone.
      """)

  @Argument(help: ArgumentHelp("The folder to share.", valueName: "dir"), completion: .directory)
  var directory: String

  @Flag(help: "Refuse every change.")
  var readOnly = false

  @Option(help: ArgumentHelp("The signaling server: host[:port], or a ws:// or wss:// URL.", valueName: "url"))
  var signal: String?

  @Option(help: ArgumentHelp("Use this code instead of a new one.", valueName: "code"))
  var code: String?

  @Flag(help: "Serve one guest, and end when it has left.")
  var once = false

  @Option(
    help: ArgumentHelp(
      "The address of this computer to put into the code, with a server of its own.", valueName: "addr"))
  var address: String?

  @Flag(help: "Do not show other filesystems that are mounted inside the folder.")
  var oneFileSystem = false

  @Option(
    name: .customLong("mount"), help: ArgumentHelp("Mount here what the guest shares back.", valueName: "mountpoint"),
    completion: .directory)
  var mountpoint: String?

  @OptionGroup var common: CommonOptions

  func run() async throws {
    common.startLogging()
    let given = try code.map { text throws(Failure) in
      do { return try Code(parsing: text) } catch { throw Failure(.usage, "--code: \(error)") }
    }
    let (share, path) = try openShare(directory, isReadOnly: readOnly, oneFileSystem: oneFileSystem)
    defer { share.stop() }
    let back = try mountpoint.map { point throws(Failure) in
      let point = try MountPoint(point)
      try point.checkIsFree()
      return MountBack(point, common)
    }

    let ownHost = try LocalAddress.shown(address)
    var ownServer: SignalServer?
    var server = try Settings.server(flag: signal, code: nil)
    var shown = server
    if server == nil {
      let own = try await SignalServer.own(port: HostPeer.rememberedPort(of: path).flatMap(UInt16.init(exactly:)))
      ownServer = own
      server = ServerAddress(scheme: .ws, host: "127.0.0.1", port: own.port)
      shown = ServerAddress(scheme: .ws, host: ownHost, port: own.port)
    }
    guard let server, let shown else { preconditionFailure("one of both was taken") }

    var configuration = HostPeer.Configuration(directory: path, makeResponder: { share.session() })
    configuration.code = given
    configuration.isOnce = once
    configuration.ice.includesLoopback = LocalAddress.isLoopback(shown.host)
    let reporter = Reporter(
      directory: path, isReadOnly: readOnly, server: shown, isOwnServer: ownServer != nil, common: common, back: back)
    let host = HostPeer(configuration, server: server) { reporter.report($0) }
    if let ownServer { await host.remember(port: Int(ownServer.port)) }

    let failure = await serve(host, server: server)
    await back?.unmount()
    await host.stop()
    await ownServer?.shutdown()
    if let failure { throw failure }
    if Signals.received == SIGINT { throw ExitCode(ExitStatus.interrupted.rawValue) }
  }

  /// Serves until a signal comes, or it is over by itself. Returns what failed.
  private func serve(_ host: HostPeer, server: ServerAddress) async -> Failure? {
    let running = Task { () -> Failure? in
      do throws(SignalingError) {
        try await host.run()
        return nil
      } catch {
        return Failure(error, server: server)
      }
    }
    Signals.onFirst { _ in running.cancel() }
    return await running.value
  }
}

/// Opens a folder for sharing; says what is wrong with it. Returns its absolute path, too.
func openShare(_ directory: String, isReadOnly: Bool, oneFileSystem: Bool) throws(Failure) -> (Share, String) {
  guard let resolved = realpath(directory, nil) else {
    throw Failure(.failed, "cannot share \(directory): \(String(cString: strerror(errno)))")
  }
  defer { free(resolved) }
  let path = String(cString: resolved)
  do {
    return (try Share(FilePath(path), readOnly: isReadOnly, oneFileSystem: oneFileSystem), path)
  } catch .notPermitted {
    throw Failure(.failed, "cannot share \(directory): it is itself mounted by p2pfs. Share it where it comes from.")
  } catch .notDirectory {
    throw Failure(.failed, "cannot share \(directory): it is not a folder")
  } catch {
    throw Failure(.failed, "cannot share \(directory): \(error)")
  }
}

/// Tells the user of an export what happens.
private struct Reporter: Sendable {
  let directory: String
  let isReadOnly: Bool
  let server: ServerAddress
  let isOwnServer: Bool
  let common: CommonOptions
  let back: MountBack?

  func report(_ event: HostPeer.Event) {
    switch event {
    case .ready(let code, let isNew): announce(code, isNew: isNew)
    case .wrongCode(let left):
      Console.say("Warning: somebody tried a wrong code. \(left) more wrong tries, and the code is replaced.")
    case .arrived(let session, let path):
      common.say("A guest has come: \(describe(path, session.roundTrip)).")
      back?.mount(session)
    case .away: common.say("A guest's connection is lost; it may come back.")
    case .back(let path): common.say("The guest is back: \(describe(path, 0)).")
    case .left: common.say("A guest has left.")
    case .signalingLost(let why): Console.say("The signaling server is gone: \(Console.escaped(why)) Trying again.")
    case .signalingBack: common.say("The signaling server is back.")
    }
  }

  private func announce(_ code: Code, isNew: Bool) {
    if isNew {
      Console.print("After ten wrong tries the code was replaced; mounts that exist go on. The new one:\n")
    } else {
      Console.print(
        "Sharing \(Console.escaped(directory)) (\(isReadOnly ? "read only" : "read and write")).  On the other computer:\n"
      )
    }
    Console.print("    p2pfs mount \(code.text)@\(server.inCode) ~/mnt\n")
    if isOwnServer, !isNew {
      Console.print(
        "This works in this network. To cross NATs, run \"p2pfs signal\" where both can reach it, and add --signal.")
    }
  }
}

/// How a peer is reached, in a few words.
func describe(_ path: ConnectionPath?, _ roundTrip: Double) -> String {
  guard let path else { return "connected" }
  let way = path.isDirect ? "direct" : path.server.map { "relayed by \($0)" } ?? "relayed on the other side"
  let time = roundTrip > 0 ? roundTrip : path.roundTrip
  guard time > 0 else { return way }
  let milliseconds = time * 1000
  return "\(way), \(milliseconds < 1 ? "under 1" : String(Int(milliseconds.rounded()))) ms"
}

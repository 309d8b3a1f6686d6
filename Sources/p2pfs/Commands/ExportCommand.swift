import ArgumentParser
import P2PFSCore
import P2PFSExport
import P2PFSForward
import Glibc
import Logging
import P2PFSMeeting
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import SystemPackage
import P2PFSTransport
import P2PFSWire

/// `p2pfs export`.
struct ExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Share a folder, and ports if wanted, until Ctrl-C.",
    discussion: """
      Prints the command that mounts the folder on another computer, or that forwards to what is allowed here. Without \
      --signal, a signaling server is started on this computer: enough for two computers in one network, or for one \
      alone.
      """)

  @Argument(
    help: ArgumentHelp("The folder to share; may be left out if something is allowed below.", valueName: "dir"),
    completion: .directory)
  var directory: String?

  @Option(
    help: ArgumentHelp(
      "Let guests connect to this from here: HOST:PORT, HOST:* or the path of a Unix socket. May be repeated.",
      valueName: "target"))
  var allowForward: [String] = []

  @Option(
    help: ArgumentHelp(
      "Let guests listen here: PORT, HOST:PORT or the path of a Unix socket. May be repeated.", valueName: "address"))
  var allowListen: [String] = []

  @Flag(help: "Refuse every change.")
  var readOnly = false

  @Option(help: ArgumentHelp("The signaling server: host[:port], or a ws:// or wss:// URL.", valueName: "url"))
  var signal: String?

  @Option(
    help: ArgumentHelp(
      "Use this code instead of a new one. - takes it from P2PFS_CODE, or asks for it.", valueName: "code"))
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

  @Option(
    help: ArgumentHelp("What is under way with a guest fails after so many seconds without it.", valueName: "seconds"))
  var timeout: Double = Limits.Session.timeout

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard directory != nil || !allowForward.isEmpty || !allowListen.isEmpty else {
      throw ValidationError("Give a folder to share, or --allow-forward.")
    }
    guard directory != nil || !readOnly && !oneFileSystem else {
      throw ValidationError("--read-only and --one-file-system make no sense without a folder.")
    }
    guard timeout >= 1, timeout <= 86_400 else { throw ValidationError("--timeout: from 1 to 86400 seconds.") }
  }

  func run() async throws {
    common.startLogging()
    let given = try code.map { text throws(Failure) in try GivenCode(text) }
    let policy: ForwardPolicy
    do { policy = try ForwardPolicy(targets: allowForward, listens: allowListen) } catch {
      throw Failure(.usage, Console.escaped("\(error)"))
    }
    let forwards = policy.isEmpty ? nil : ForwardHost(policy)
    let shared = try directory.map { directory throws(Failure) in
      try openShare(directory, isReadOnly: readOnly, oneFileSystem: oneFileSystem)
    }
    let share = shared?.0
    defer { share?.stop() }
    // What it is remembered under. Without a folder, what is allowed: no absolute path begins like that.
    let key = shared?.1 ?? policy.memoryKey
    let back = try mountpoint.map { point throws(Failure) in
      let point = try MountPoint(point)
      try point.checkIsFree()
      return MountBack(point, common)
    }

    // Before the port is chosen: the export before may be on its way out, and still have it.
    let memory = once ? nil : ExportMemory(of: key)
    // It is let go of when all that the next one takes over is given back.
    defer { withExtendedLifetime(memory) {} }
    let ownHost = try LocalAddress.shown(address)
    var ownServer: SignalServer?
    var server = try Settings.server(flag: signal, code: given?.server)
    var shown = server
    if server == nil {
      let wanted = memory?.port
      let own = try await SignalServer.own(port: wanted)
      if let wanted, wanted != own.port {
        Console.say(
          "Port \(wanted) is taken by another program: what was mounted before looks for this export there, and finds it "
            + "when the export is started again while the port is free.")
      }
      ownServer = own
      server = ServerAddress(scheme: .ws, host: "127.0.0.1", port: own.port)
      shown = ServerAddress(scheme: .ws, host: ownHost, port: own.port)
    }
    guard let server, let shown else { preconditionFailure("one of both was taken") }

    var configuration = HostedRoom.Configuration(memory: memory)
    if let share {
      configuration.makeResponder = { share.session(for: $0) }
      configuration.isShortOfFiles = { share.isShortOfFiles }
    }
    if memory == nil, !once {
      let other = ExportMemory.code(of: key).map { ", with the code \($0.text)" } ?? ", or nothing can be kept here"
      common.say("Another p2pfs export shares the same already\(other). This one has a code of its own.")
    }
    if let forwards {
      configuration.onChannel = { channel, session in
        if !forwards.accept(channel, of: session) {
          channel.reset(.refused, "it has no handler for channel \"\(channel.name)\"")
        }
      }
    }
    configuration.timeout = timeout
    configuration.code = given?.code
    configuration.isOnce = once
    configuration.ice.includesLoopback = LocalAddress.isLoopback(shown.host)
    let reporter = Reporter(
      directory: shared?.1, policy: policy, isReadOnly: readOnly, server: shown, isOwnServer: ownServer != nil,
      common: common, back: back)
    let host = HostedRoom(configuration, server: server) { reporter.report($0) }
    if let ownServer { await host.remember(port: Int(ownServer.port)) }

    let failure = await serve(host, server: server)
    await back?.unmount()
    await host.stop()
    await forwards?.end()
    await ownServer?.shutdown()
    if let failure { throw failure }
    if Signals.received == SIGINT { throw ExitCode(ExitStatus.interrupted.rawValue) }
  }

  /// Serves until a signal comes, or it is over by itself. Returns what failed.
  private func serve(_ host: HostedRoom, server: ServerAddress) async -> Failure? {
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

/// The name of the user that this process runs as.
private var user: String { getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "user \(geteuid())" }

/// Opens a folder for sharing; says what is wrong with it. Returns its absolute path, too.
func openShare(_ directory: String, isReadOnly: Bool, oneFileSystem: Bool) throws(Failure) -> (Share, String) {
  guard let resolved = directory.withPath({ realpath($0, nil) }) else {
    throw Failure(.failed, "cannot share \(Console.escaped(directory)): \(String(cString: strerror(errno)))")
  }
  defer { free(resolved) }
  let path = String(path: resolved)
  do {
    // Opening it for sharing takes no right to read it.
    var status = stat()
    if path.withPath({ stat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFDIR,
      path.withPath({ faccessat(AT_FDCWD, $0, R_OK | X_OK, AT_EACCESS) }) != 0
    {
      throw Errno(rawValue: errno)
    }
    return (
      try Share(
        path.filePath, barring: StateDirectory.own, readOnly: isReadOnly, oneFileSystem: oneFileSystem), path
    )
  } catch .notPermitted {
    throw Failure(
      .failed,
      "cannot share \(Console.escaped(directory)): it is itself mounted by p2pfs. Share it where it comes from.")
  } catch .resourceBusy {
    throw Failure(.failed, "cannot share \(Console.escaped(directory)): it has the secrets of p2pfs itself")
  } catch .notDirectory {
    throw Failure(
      .failed,
      "cannot share \(Console.escaped(directory)): it is not a folder. Share the folder that it is in, or send the file "
        + "with \"p2pfs send\".")
  } catch .permissionDenied {
    throw Failure(
      .failed,
      "cannot share \(Console.escaped(directory)): \(user) may not read and enter it (Permission denied). Run this as "
        + "its owner, or have that changed with chmod(1).")
  } catch {
    throw Failure(.failed, "cannot share \(Console.escaped(directory)): \(error)")
  }
}

/// Tells the user of an export what happens.
private struct Reporter: Sendable {
  let directory: String?
  let policy: ForwardPolicy
  let isReadOnly: Bool
  let server: ServerAddress
  let isOwnServer: Bool
  let common: CommonOptions
  let back: MountBack?

  func report(_ event: HostedRoom.Event) {
    switch event {
    case .ready(let code, let isNew): announce(code, isNew: isNew)
    case .wrongCode(let left):
      Console.say(CodePause.wrongCode(left: left, isGiven: false))
    case .codeSpent: break
    case .codePaused(let seconds): Console.say(CodePause.text(seconds: seconds))
    case .arrived(let session, let path):
      common.say("\(guest(path)) has come: \(describe(path, session.roundTrip)).")
      back?.mount(session)
    case .away(let path): common.say("\(guest(path)) has lost its connection, and may come back.")
    case .back(let path): common.say("\(guest(path)) is back: \(describe(path, 0)).")
    case .left(let path): common.say("\(guest(path)) has left.")
    case .signalingAwaited(let why):
      Console.say(
        "There is no signaling server yet at \(server). \(Console.sentence(why)) Trying again, since guests that were "
          + "here may come back; Ctrl-C ends it.")
    case .signalingLost(let why): Console.say("The signaling server is gone. \(Console.sentence(why)) Trying again.")
    case .signalingBack: common.say("The signaling server is back.")
    }
  }

  /// When, and who: the address that the guest's packets come from, unless a relay is in between.
  private func guest(_ path: ConnectionPath?) -> String {
    "\(LocalTime.now)  A guest" + (addressOfPeer(path).map { " from \(Console.escaped($0))" } ?? "")
  }

  private func announce(_ code: Code, isNew: Bool) {
    // What a script needs, and nothing else.
    if common.quiet { return commands(code).forEach { Console.print($0) } }
    if isNew {
      Console.print("After ten wrong tries the code was replaced; what is connected goes on. The new one:\n")
    } else {
      var what: [String] = []
      if let directory {
        what.append("Sharing \(Console.escaped(directory)) (\(isReadOnly ? "read only" : "read and write")).")
      }
      if !policy.targets.isEmpty {
        what.append("Allowing connections to \(policy.targets.map(\.text).joined(separator: ", ")).")
      }
      if !policy.listens.isEmpty {
        what.append("Allowing guests to listen on \(policy.listens.map(\.text).joined(separator: ", ")).")
      }
      Console.print(Console.escaped(what.joined(separator: " ")) + "  On the other computer:\n")
    }
    for command in commands(code) { Console.print("    \(command)\n") }
    if isOwnServer, !isNew {
      Console.print(
        "This works in this network. To cross NATs, run \"p2pfs signal\" where both can reach it, and add --signal.")
    }
  }

  /// What is run on the other computer.
  private func commands(_ code: Code) -> [String] {
    let shown = "\(code.text)@\(server.inCode)"
    let examples = policy.examples.map { option, spec in " \(option) \(Shell.quoted(spec))" }.joined()
    return (directory == nil ? [] : ["p2pfs mount \(shown) ~/mnt"])
      + (policy.isEmpty ? [] : ["p2pfs forward \(shown)\(examples)"])
  }
}

/// The time, as the local clock has it.
enum LocalTime {
  /// As in "2026-11-26 13:05:09".
  static var now: String {
    var (seconds, parts) = (time(nil), tm())
    localtime_r(&seconds, &parts)
    var text = [CChar](repeating: 0, count: 32)
    let count = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S", &parts)
    return String(decoding: text[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

/// The address that the packets of a peer come from; nil if they come from a relay, or no path is known.
func addressOfPeer(_ path: ConnectionPath?) -> String? {
  guard let path, path.remote.kind != .relay else { return nil }
  return path.remote.address
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

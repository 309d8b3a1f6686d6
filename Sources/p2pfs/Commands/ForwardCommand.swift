import ArgumentParser
import P2PFSCore
import P2PFSForward
import Glibc
import Logging
import P2PFSMeeting
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import P2PFSTransport

/// `p2pfs forward`.
struct ForwardCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "forward",
    abstract: "Forward TCP ports and Unix sockets to another computer, or from there.",
    discussion: """
      Runs until Ctrl-C. The other computer runs p2pfs export and must have allowed what is asked for, by \
      --allow-forward for -L and by --allow-listen for -R. A SPEC is [ADDRESS:]PORT:HOST:HOSTPORT, as for ssh; the path \
      of a Unix socket may stand in place of either side. The code may be - if P2PFS_CODE has it, or to be asked for it.
      """)

  @Argument(help: ArgumentHelp("CODE[@SERVER], as p2pfs export shows it.", valueName: "code"))
  var code: String

  @Option(
    name: .customShort("L", allowingJoined: true),
    help: ArgumentHelp("Listen here, and connect to the other side of SPEC from there.", valueName: "spec"))
  var local: [String] = []

  @Option(
    name: .customShort("R", allowingJoined: true),
    help: ArgumentHelp("Listen there, and connect to the other side of SPEC from here.", valueName: "spec"))
  var remote: [String] = []

  @Option(help: ArgumentHelp("The signaling server: host[:port], or a ws:// or wss:// URL.", valueName: "url"))
  var signal: String?

  @Flag(help: "Wait for the other computer, if it is not there yet.")
  var wait = false

  @Option(help: ArgumentHelp("End connections after so many seconds without the other computer.", valueName: "seconds"))
  var timeout: Double = Limits.Session.timeout

  // What a user of ssh types by habit.
  @Flag(name: .customShort("N"), help: .hidden) var runsNothing = false
  @Flag(name: .customShort("g"), help: .hidden) var listensForAll = false
  @Option(name: .customShort("D", allowingJoined: true), help: .hidden) var dynamic: [String] = []

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard !listensForAll else {
      throw ValidationError("-g: give *:PORT instead of PORT, to listen at every address of the computer.")
    }
    guard dynamic.isEmpty else {
      throw ValidationError("-D: what is connected to must be named here and allowed there. Give a -L for each.")
    }
    guard !local.isEmpty || !remote.isEmpty else { throw ValidationError("Give something to forward: -L or -R.") }
    guard remote.count <= Limits.Forward.listeners else {
      throw ValidationError("-R: \(Limits.Forward.listeners) times at most.")
    }
    guard timeout >= 1, timeout <= 86_400 else { throw ValidationError("--timeout: from 1 to 86400 seconds.") }
  }

  func run() async throws {
    common.startLogging()
    let locals = try specs(local, of: "-L")
    let remotes = try specs(remote, of: "-R")
    try expectOnce(locals, of: "-L")
    try expectOnce(remotes, of: "-R")
    let given = try GivenCode(code)
    guard let server = try Settings.server(flag: signal, code: given.server) else {
      throw Failure(.usage, "no signaling server: give CODE@SERVER as p2pfs export shows it, --signal or P2PFS_SIGNAL")
    }
    // A port that is taken is said before anybody is waited for.
    let guest: ForwardGuest
    do throws(ForwardError) { guest = try await ForwardGuest(local: locals, remote: remotes) } catch {
      throw Failure(error)
    }
    defer { guest.end() }

    var ice = ICEConfiguration()
    ice.includesLoopback = LocalAddress.isLoopback(server.host)
    var meeting = GuestMeeting(server: server, credential: Credential(given.code), waits: wait, ice: ice)
    let patience = Patience(isShown: Console.isTerminal && !common.quiet) { Console.say($0) }
    defer { patience.end() }
    meeting.onStage = { patience.began($0) }
    let work = Task { [meeting] in try await start(guest, meeting, server) }
    let ending = Ending()
    Signals.onFirst { _ in
      work.cancel()
      ending.end()
    }
    let peer: JoinedRoom
    do {
      peer = try await work.value
      patience.end()
    } catch {
      if Signals.received != 0 { throw Failure(.interrupted, "interrupted") }
      throw error
    }
    let watch = Task { await tell(peer.session, ending) }
    await ending.wait()
    watch.cancel()
    guest.end()
    let isOver = peer.session.status == .over
    await peer.end()
    if Signals.received == SIGINT { throw ExitCode(ExitStatus.interrupted.rawValue) }
    if isOver, Signals.received == 0 { throw Failure(.noPeer, "the other computer closed the connection") }
  }

  private func specs(_ texts: [String], of option: String) throws(Failure) -> [ForwardSpec] {
    var specs: [ForwardSpec] = []
    for text in texts {
      do { specs.append(try ForwardSpec(parsing: text)) } catch {
        throw Failure(.usage, "\(option) \(Console.escaped("\(error)"))")
      }
    }
    return specs
  }

  /// Any free port is a new one each time.
  private func expectOnce(_ specs: [ForwardSpec], of option: String) throws(Failure) {
    var seen: Set<Endpoint> = []
    for listen in specs.map(\.listen) where !listen.isAnyPort && !seen.insert(listen).inserted {
      throw Failure(.usage, "\(option): \(Console.escaped(listen.text)) is given twice")
    }
  }

  // MARK: - The work

  /// Meets the other computer, asks it, and begins to listen.
  private func start(_ guest: ForwardGuest, _ meeting: GuestMeeting, _ server: ServerAddress) async throws -> JoinedRoom
  {
    let peer: JoinedRoom
    do throws(MeetingError) {
      peer = try await JoinedRoom.meet(meeting, timeout: timeout, onChannel: { guest.accept($0) })
    } catch {
      throw Failure(error, server: server)
    }
    common.say("Connected: \(describe(peer.path, peer.session.roundTrip)).")
    do throws(ForwardError) {
      try await guest.ask(peer.session) { [common] event in Self.tell(event, common) }
      for (spec, addresses) in try await guest.start(peer.session) {
        common.say(
          "Listening on \(addresses.joined(separator: " and ")), for \(spec.target.text) on the other computer.")
      }
      return peer
    } catch {
      await peer.end()
      throw Failure(error)
    }
  }

  private static func tell(_ event: ForwardGuest.Event, _ common: CommonOptions) {
    switch event {
    case .listensThere(let spec, let endpoint):
      common.say("The other computer listens on \(endpoint.text), for \(spec.target.text) here.")
    case .lostThere(let spec, let why):
      common.say("The other computer does not listen on \(spec.listen.text) any more: \(Console.escaped(why)).")
    case .waitsThere(let spec):
      common.say("The other computer does not listen on \(spec.listen.text) yet; waiting for it.")
    case .refusedThere(_, let error):
      Console.say("Asking again from time to time: \(Failure(error).message)")
    case .full(let count):
      common.say("\(count) connections are open: further ones wait until one of them ends.")
    }
  }

  /// Tells when the other computer is away and back; asks for the end when it has left for good.
  private func tell(_ session: Session, _ ending: Ending) async {
    var isAway = false
    for await state in session.states() {
      switch state {
      case .online:
        if isAway { common.say("Connected again.") }
        isAway = false
      case .offline:
        if !isAway { common.say("The connection is lost; making it again.") }
        isAway = true
      case .expired:
        common.say("The other computer is away: connections have ended, and new ones are refused until it is back.")
      case .over: ending.end()
      }
    }
  }
}

extension Failure {
  /// Why nothing can be forwarded, and what would help.
  init(_ error: ForwardError) {
    switch error {
    case .cannotListen(let address, let why):
      self.init(.failed, "cannot listen on \(Console.escaped(address)): \(why)")
    case .targetRefused(let target):
      self.init(
        .refused,
        "the other computer does not allow connections to \(target.text). To allow them, run there: "
          + "p2pfs export --allow-forward \(Shell.quoted(target.text))")
    case .listenRefused(let address):
      self.init(
        .refused,
        "the other computer does not allow others to listen on \(address.text). To allow it, run there: "
          + "p2pfs export --allow-listen \(Shell.quoted(address.text))")
    case .cannotListenThere(let address, let why):
      self.init(.failed, "the other computer cannot listen on \(address.text): \(Console.escaped(why))")
    case .noAnswer:
      self.init(.noPeer, "the other computer did not answer within \(Int(Limits.Forward.answer)) seconds")
    case .peer(.unavailable(let why)): self.init(.failed, Console.escaped(why))
    case .peer(.cancelled): self.init(.interrupted, "interrupted")
    case .peer(let error): self.init(.noPeer, "the other computer did not answer: \(Console.escaped("\(error)"))")
    }
  }
}

/// Text that a user can paste into a shell.
enum Shell {
  /// One word, in quotes if it needs them; control characters are escaped, and useless then.
  static func quoted(_ word: String) -> String {
    let isPlain = word.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
      default: "-._/:@%+,=".utf8.contains(byte)
      }
    }
    if isPlain, !word.isEmpty { return word }
    return "'"
      + Console.escaped(word).split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
      + "'"
  }
}

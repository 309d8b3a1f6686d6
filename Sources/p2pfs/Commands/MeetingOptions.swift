import ArgumentParser
import P2PFSCore
import P2PFSMeeting
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import P2PFSTransport

/// How a command for two computers and one task finds the other one: `p2pfs pipe`, `send`, `receive`.
struct MeetingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The signaling server: host[:port], or a ws:// or wss:// URL.", valueName: "url"))
  var signal: String?

  @Option(
    help: ArgumentHelp(
      "The address of this computer to put into the code, with a server of its own.", valueName: "addr"))
  var address: String?

  @Option(help: ArgumentHelp("Fail after so many seconds without the other computer.", valueName: "seconds"))
  var timeout: Double = Limits.Session.timeout

  func validate() throws {
    guard timeout >= 1, timeout <= 86_400 else { throw ValidationError("--timeout: from 1 to 86400 seconds.") }
  }
}

/// A code as it was given, and where to meet.
struct GivenCode {
  let code: Code
  let server: ServerAddress?

  /// Reads `CODE[@SERVER]`; `-` stands for P2PFS_CODE, or to be asked for it.
  init(_ text: String) throws(Failure) {
    var text = text
    if text == "-" {
      var other = Arguments.process.secret("P2PFS_CODE")
      if other == nil { other = try Console.ask("Code: ", isSecret: true) }
      guard let other else {
        throw Failure(.usage, "no code: give it as CODE, in P2PFS_CODE, or run this on a terminal to be asked for it")
      }
      text = other
    }
    let source: PeerAddress
    do { source = try PeerAddress(parsing: text) } catch { throw GivenCode.failure(error, in: text) }
    guard case .code(let code) = source.peer else {
      throw Failure(.usage, GivenCode.noCode(text))
    }
    guard source.path.isEmpty else {
      throw Failure(
        .usage, "a path makes no sense in this code, only for \"p2pfs mount\": \(Console.escaped(source.path))")
    }
    self.code = code
    server = source.server
  }

  /// Why a text names nobody to meet. What was typed is repeated only where no secret can be in it.
  static func failure(_ error: MountSourceError, in text: String) -> Failure {
    if case .name = error { return Failure(.usage, noCode(text)) }
    return Failure(.usage, error.description)
  }

  /// Said of what cannot be a code.
  static func noCode(_ text: String) -> String {
    "\"\(Console.escaped(CodeMask.masked(text)))\" is not a code. One looks like 482153-lusab-babad; give what the other computer shows."
  }
}

/// What the user is told when others guess at a code.
enum CodePause {
  /// Somebody has tried a wrong one. `isGiven`: both sides were given the code, so that no other takes its place.
  static func wrongCode(left: Int, isGiven: Bool) -> String {
    let then = isGiven ? "this one cannot be used any more" : "the code is replaced"
    let rest = left == 0 ? "That was the last try:" : "\(counted(left, "more wrong try", "more wrong tries")), and"
    return "Warning: somebody tried a wrong code. \(rest) \(then)."
  }

  static func text(seconds: Double) -> String {
    "Warning: others go on trying wrong codes. Nobody new can come until a new one is made in "
      + "\(Progress.duration(seconds)). Another signaling server may be left in peace."
  }
}

/// One meeting of a command, with the signaling server that it may have started for it.
struct CommandMeeting {
  /// What the other computer is told to run, as in `p2pfs pipe`: the code is put behind it.
  let counterpart: String
  /// What stands behind the code there.
  let behind: String
  let options: MeetingOptions
  let common: CommonOptions
  /// What is remembered of the code that is shown.
  private let memory: SavedTask?
  private var rendezvous: Rendezvous
  private let shown: ServerAddress
  private let ownServer: SignalServer?

  /// Finds out where to meet; starts a signaling server if there is none, and no code was given.
  /// - Parameters:
  ///   - role: with a code; without one this side holds the room.
  ///   - task: what is done to which files, if it goes on when the same command is run again: then without a code it has
  ///     the code of last time.
  init(
    counterpart: String, behind: String = "", code: GivenCode?, as role: Rendezvous.Role, task: String? = nil,
    options: MeetingOptions, common: CommonOptions
  ) async throws(Failure) {
    self.counterpart = counterpart
    self.behind = behind.isEmpty ? "" : " " + behind
    self.options = options
    self.common = common
    let host = try LocalAddress.shown(options.address)
    var server = try Settings.server(flag: options.signal, code: code?.server)
    let place = server?.url ?? "its own server"
    memory = code == nil ? task.flatMap { SavedTask("\($0)\0\(place)") } : nil
    var own: SignalServer?
    var shown = server
    if server == nil {
      guard code == nil || role == .host else {
        throw Failure(
          .usage, "no signaling server: give CODE@SERVER as the other computer shows it, --signal or P2PFS_SIGNAL")
      }
      let started = try await SignalServer.own(port: memory?.port)
      own = started
      server = ServerAddress(scheme: .ws, host: "127.0.0.1", port: started.port)
      shown = ServerAddress(scheme: .ws, host: host, port: started.port)
    }
    guard let server, let shown else { preconditionFailure("one of both was taken") }
    ownServer = own
    self.shown = shown
    // One that was shown before is known to the other side, which may hold the room by now.
    let shownBefore = memory?.code
    rendezvous = Rendezvous(
      code?.code ?? shownBefore, as: code != nil ? role : shownBefore != nil ? .either : .host, at: server)
    rendezvous.token = memory?.token
    rendezvous.attemptsLeft = memory?.attemptsLeft
    rendezvous.timeout = options.timeout
    rendezvous.ice.includesLoopback = LocalAddress.isLoopback(shown.host)
  }

  /// Meets the other computer, telling the user what to do there. Ends early if the task is cancelled.
  /// - Parameters:
  ///   - responder: serves the peer's requests for files.
  ///   - onChannel: takes the channels that the peer opens.
  func meet(
    responder: (any Responder)? = nil, onChannel: (@Sendable (SessionChannel) -> Void)? = nil
  ) async throws(Failure) -> ConnectedPeer {
    var rendezvous = rendezvous
    rendezvous.responder = responder
    rendezvous.onChannel = onChannel
    let outputIsData = counterpart == "p2pfs pipe"
    let (counterpart, behind, shown, common, isOwn) = (counterpart, behind, shown, common, ownServer != nil)
    let (memory, port) = (memory, ownServer?.port)
    let isGiven = rendezvous.code != nil
    let isRemembered = memory?.code != nil
    let mayBeAwaited = isGiven && !isRemembered && rendezvous.role == .either
    let patience = Patience(isShown: Console.isTerminal && !common.quiet) { Console.say($0) }
    defer { patience.end() }
    do throws(MeetingError) {
      let peer = try await rendezvous.meet { event in
        switch event {
        case .stage(let stage): patience.began(stage)
        case .ready(let code, let isNew):
          // What is shown here says what is waited for.
          patience.end()
          memory?.note(code, port: port)
          let command = "\(counterpart) \(code.text)@\(shown.inCode)\(behind)"
          // Without it nobody can come. What a script needs, and nothing else, unless standard output is for data.
          if common.quiet, !outputIsData { return Console.print(command) }
          if isNew { Console.say("After ten wrong tries the code was replaced. The new one:") }
          if mayBeAwaited {
            common.say("Nobody is there with this code yet; waiting. If the other side waits, too, compare the codes.")
          }
          if isRemembered {
            common.say("With the code of last time, so that the other side may run the same command again.")
          }
          if common.quiet { return Console.say(command) }
          Console.say("On the other computer:\n\n    \(command)\n")
          if isOwn, !isNew {
            common.say(
              "This works in this network. To cross NATs, run \"p2pfs signal\" where both can reach it, and add --signal."
            )
          }
        case .wrongCode(let left):
          memory?.note(attemptsLeft: left)
          Console.say(CodePause.wrongCode(left: left, isGiven: isGiven))
        case .codePaused(let seconds): Console.say(CodePause.text(seconds: seconds))
        case .away: common.say("The connection is lost; making it again.")
        case .back: common.say("Connected again.")
        case .signalingLost(let why):
          Console.say("The signaling server is gone. \(Console.sentence(why)) Trying again.")
        case .signalingBack: common.say("The signaling server is back.")
        }
      }
      if common.verbose { Console.say("Connected: \(describe(peer.path, peer.session.roundTrip)).") }
      return peer
    } catch {
      await end()
      // Nobody has come: who ends it now, or has a code that was guessed at, wants another one next time.
      if Signals.received != 0 {
        memory?.forget()
        throw Failure(.interrupted, "interrupted")
      }
      if case .codeSpent = error, isRemembered {
        memory?.forget()
        throw Failure(.refused, "somebody has tried ten wrong codes. Run this again for a new code.")
      }
      throw Failure(error, server: shown)
    }
  }

  /// Ends the signaling server that was started for the meeting, if one was.
  /// - Parameter isDone: everything is there, so that the code is not needed any more.
  func end(isDone: Bool = false) async {
    if isDone { memory?.forget() }
    await ownServer?.shutdown()
  }
}

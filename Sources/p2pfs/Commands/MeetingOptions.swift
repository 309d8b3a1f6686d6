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
    do { source = try PeerAddress(parsing: text) } catch { throw Failure(.usage, "\(error)") }
    guard case .code(let code) = source.peer else {
      throw Failure(.usage, GivenCode.noCode(text))
    }
    guard source.path.isEmpty else { throw Failure(.usage, "a path makes no sense in this code: \(source.path)") }
    self.code = code
    server = source.server
  }

  /// Said of what cannot be a code.
  static func noCode(_ text: String) -> String {
    "\"\(Console.escaped(text))\" is not a code. One looks like 482153-lusab-babad; give what the other computer shows."
  }
}

/// What the user is told when guessing goes on.
enum CodePause {
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
  private var rendezvous: Rendezvous
  private let shown: ServerAddress
  private let ownServer: SignalServer?

  /// Finds out where to meet; starts a signaling server if there is none, and no code was given.
  /// - Parameter role: with a code; without one this side holds the room.
  init(
    counterpart: String, behind: String = "", code: GivenCode?, as role: Rendezvous.Role, options: MeetingOptions,
    common: CommonOptions
  ) async throws(Failure) {
    self.counterpart = counterpart
    self.behind = behind.isEmpty ? "" : " " + behind
    self.options = options
    self.common = common
    let host = try LocalAddress.shown(options.address)
    var server = try Settings.server(flag: options.signal, code: code?.server)
    var own: SignalServer?
    var shown = server
    if server == nil {
      guard code == nil || role == .host else {
        throw Failure(
          .usage, "no signaling server: give CODE@SERVER as the other computer shows it, --signal or P2PFS_SIGNAL")
      }
      let started = try await SignalServer.own()
      own = started
      server = ServerAddress(scheme: .ws, host: "127.0.0.1", port: started.port)
      shown = ServerAddress(scheme: .ws, host: host, port: started.port)
    }
    guard let server, let shown else { preconditionFailure("one of both was taken") }
    ownServer = own
    self.shown = shown
    rendezvous = Rendezvous(code?.code, as: code == nil ? .host : role, at: server)
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
    let (counterpart, behind, shown, common, isOwn) = (counterpart, behind, shown, common, ownServer != nil)
    let isGiven = rendezvous.code != nil
    let mayBeAwaited = isGiven && rendezvous.role == .either
    let patience = Patience(isShown: Console.isTerminal && !common.quiet) { Console.say($0) }
    defer { patience.end() }
    do throws(MeetingError) {
      let peer = try await rendezvous.meet { event in
        switch event {
        case .stage(let stage): patience.began(stage)
        case .ready(let code, let isNew):
          // What is shown here says what is waited for.
          patience.end()
          // On standard error: standard output is for data. Also with --quiet: without it nobody can come.
          if isNew { Console.say("After ten wrong tries the code was replaced. The new one:") }
          if mayBeAwaited {
            common.say("Nobody is there with this code yet; waiting. If the other side waits, too, compare the codes.")
          }
          Console.say("On the other computer:\n\n    \(counterpart) \(code.text)@\(shown.inCode)\(behind)\n")
          if isOwn, !isNew {
            common.say(
              "This works in this network. To cross NATs, run \"p2pfs signal\" where both can reach it, and add --signal."
            )
          }
        case .wrongCode(let left):
          let then = isGiven ? "this one cannot be used any more" : "the code is replaced"
          Console.say("Warning: somebody tried a wrong code. \(left) more wrong tries, and \(then).")
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
      if Signals.received != 0 { throw Failure(.interrupted, "interrupted") }
      throw Failure(error, server: shown)
    }
  }

  /// Ends the signaling server that was started for the meeting, if one was.
  func end() async { await ownServer?.shutdown() }
}

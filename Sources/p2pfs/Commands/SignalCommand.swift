import ArgumentParser
import P2PFSCore
import Logging
import P2PFSMeeting
import P2PFSSignaling

/// `p2pfs signal`.
struct SignalCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "signal",
    abstract: "Run a signaling server, where peers meet.",
    discussion: """
      It relays sealed messages between the host of a room and its guests, tells peers the address they are seen at \
      (STUN, on UDP at the same port), and can hand out credentials for a TURN server. It keeps nothing on disk, and \
      cannot read what it relays.
      """)

  @Option(help: ArgumentHelp("Where to listen (default: every address, port 11985).", valueName: "addr:port"))
  var listen: String?

  @Option(help: ArgumentHelp("Speak wss with this certificate chain (PEM).", valueName: "file"), completion: .file())
  var tlsCert: String?

  @Option(help: ArgumentHelp("The private key of the certificate (PEM).", valueName: "file"), completion: .file())
  var tlsKey: String?

  @Option(help: ArgumentHelp("Tell peers of this STUN server, too. May be repeated.", valueName: "uri"))
  var stun: [String] = []

  @Flag(help: "Do not answer STUN.")
  var noStun = false

  @Option(
    help: ArgumentHelp(
      "Tell peers of this TURN server, by UDP and TCP unless ?transport= says otherwise. May be repeated.",
      valueName: "uri"))
  var turn: [String] = []

  @Option(
    help: ArgumentHelp(
      "The secret shared with the TURN server (coturn's static-auth-secret). P2PFS_TURN_SECRET keeps it out of ps.",
      valueName: "secret"))
  var turnSecret: String?

  @Option(
    help: ArgumentHelp(
      "Tell peers to use this address for STUN, instead of the one they reached.", valueName: "host[:port]"))
  var publicAddress: String?

  @Flag(help: "Behind a reverse proxy: take the peer's address from X-Forwarded-For.")
  var trustForwardedFor = false

  @OptionGroup var common: CommonOptions

  func validate() throws {
    if (tlsCert == nil) != (tlsKey == nil) { throw ValidationError("--tls-cert and --tls-key go together.") }
    // The variable may be set for other reasons.
    let hasSecret = turnSecret != nil || !turn.isEmpty && Arguments.process.secret("P2PFS_TURN_SECRET") != nil
    if turn.isEmpty == hasSecret {
      throw ValidationError("--turn and --turn-secret, or P2PFS_TURN_SECRET, go together.")
    }
  }

  func run() async throws {
    common.startLogging()
    let configuration = try configuration()
    let server: SignalServer
    do { server = try await SignalServer.start(configuration) } catch {
      throw Failure(error, listen: listen)
    }
    let address = ServerAddress(scheme: tlsCert == nil ? .ws : .wss, host: shownHost(configuration), port: server.port)
    common.say("Signaling at \(address.url). Ctrl-C ends it.")
    let signal = await withCheckedContinuation { continuation in
      Signals.onFirst { continuation.resume(returning: $0) }
    }
    await server.shutdown()
    if signal == 2 { throw ExitCode(ExitStatus.interrupted.rawValue) }
  }

  /// The host that peers are likely to reach the server by.
  private func shownHost(_ configuration: SignalServer.Configuration) -> String {
    if let publicAddress, let (host, _) = try? ServerAddress.hostAndPort(Substring(publicAddress)) { return host }
    guard let host = configuration.host, host != "0.0.0.0", host != "::" else { return LocalAddress.forOthers }
    return host
  }

  private func configuration() throws(Failure) -> SignalServer.Configuration {
    var configuration = SignalServer.Configuration()
    if let listen {
      let (host, port) = try SignalCommand.split(listen)
      configuration.host = host
      configuration.port = .exactly(port)
    }
    configuration.certificateFile = tlsCert
    configuration.keyFile = tlsKey
    configuration.stunServers = try SignalCommand.servers(stun, of: "--stun")
    configuration.answersStun = !noStun
    configuration.turnServers = try SignalCommand.servers(turn, of: "--turn")
    configuration.turnSecret = turnSecret ?? Arguments.process.secret("P2PFS_TURN_SECRET")
    configuration.publicAddress = publicAddress
    configuration.trustsForwardedFor = trustForwardedFor
    return configuration
  }

  private static func servers(_ uris: [String], of flag: String) throws(Failure) -> [IceServer] {
    var servers: [IceServer] = []
    for uri in uris {
      do { servers += try IceServer.all(uri: uri) } catch {
        throw Failure(
          .usage,
          "\(flag) \(Console.escaped(uri)): give stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp]. \(error)")
      }
    }
    return servers
  }

  /// `ADDR:PORT`, `[V6]:PORT`, `ADDR`, `:PORT` or `PORT`.
  private static func split(_ text: String) throws(Failure) -> (host: String?, port: UInt16) {
    let wrong = Failure(.usage, "--listen \(Console.escaped(text)): give ADDR:PORT, as in 0.0.0.0:11985 or [::]:11985")
    if let port = UInt16(text) { return (nil, port) }
    if text.hasPrefix(":") {
      guard let port = UInt16(text.dropFirst()) else { throw wrong }
      return (nil, port)
    }
    guard let address = try? ServerAddress(parsing: text) else { throw wrong }
    return (address.host, address.port)
  }
}

extension Failure {
  /// Why a signaling server does not start on this computer. `listen`: where it was told to.
  init(_ error: SignalServerError, listen: String?) {
    switch error {
    case .cannotListen(let why):
      let place = listen.map { " on \(Console.escaped($0))" } ?? ""
      self.init(.failed, "the signaling server cannot listen\(place): \(why). Choose another address with --listen.")
    case .certificate(let why): self.init(.failed, "the signaling server cannot speak TLS: \(Console.escaped(why))")
    }
  }
}

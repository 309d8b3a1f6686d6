import P2PFSMeeting
import P2PFSCore
import P2PFSExport
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import P2PFSTransport

/// Waits under a code for other computers, which connect with `Peer.connect`.
///
/// ```swift
/// let host = try await Host.start()
/// print("The code is \(host.code)")
/// for await peer in host.peers {
///   peer.onChannel("echo") { channel in
///     for try await message in channel { try await channel.send(message) }
///   }
/// }
/// ```
/// It takes up to 16 guests at a time, and keeps each until it leaves, or is away for longer than the timeout; one whose
/// connection breaks is let in again without the code. A host that nobody holds any more, nor its sequences, is closed at
/// once with all of its guests.
public final class Host: Sendable {
  private let guests: Guests
  private let end: @Sendable () async -> Void
  private let running: Task<Void, Never>

  private init(_ guests: Guests, _ running: Task<Void, Never>, end: @escaping @Sendable () async -> Void) {
    self.guests = guests
    self.running = running
    self.end = end
  }

  deinit {
    running.cancel()
    for peer in guests.leave() { peer.session.end() }
    Task { [end] in await end() }
  }

  /// Begins to wait, and returns when guests can come.
  /// - Parameters:
  ///   - code: the code to wait under, where both sides agreed upon one before (with or without its server); nil: a new one.
  ///   - options: where to wait, and what to share with guests. Without a server the host starts one of its own, which is
  ///     enough for computers in its network.
  ///   - address: the address or name of this computer that stands in the code then; nil: what seems best.
  /// - Throws: `.invalidCode`, `.invalidArgument`; `.signaling` and `.roomTaken` when the server cannot be had; `.file` when
  ///   the directory cannot be opened; `.cancelled` if the task was.
  public static func start(
    code: String? = nil, options: Peer.Options = Peer.Options(), address: String? = nil
  ) async throws(PeerError) -> Host {
    var given: (code: Code, server: ServerAddress?)?
    if let code { given = try Peer.parse(code) }
    let ownAddress = address.map { LocalAddress.host(in: $0) } ?? LocalAddress.forOthers
    guard let ownAddress else { throw PeerError(.invalidArgument, "not an address of this computer: \(address ?? "")") }
    var server = try options.serverAddress() ?? given?.server
    let share = try options.share?.open()
    var shown = server
    var own: SignalServer?
    if server == nil {
      do { own = try await SignalServer.embedded() } catch {
        share?.stop()
        throw PeerError(.signaling, "\(error)")
      }
      if let own {
        server = ServerAddress(scheme: .ws, host: "127.0.0.1", port: own.port)
        shown = ServerAddress(scheme: .ws, host: ownAddress, port: own.port)
      }
    }
    guard let server, let shown else { preconditionFailure("one of both was taken") }

    var configuration = HostedRoom.Configuration()
    configuration.code = given?.code
    configuration.timeout = options.timeoutSeconds
    configuration.ice.includesLoopback = LocalAddress.isLoopback(shown.host)
    if let share {
      configuration.makeResponder = { share.session(for: $0) }
      configuration.isShortOfFiles = { share.isShortOfFiles }
    }
    let guests = Guests(server: shown)
    configuration.onChannel = { channel, session in guests.inbox(of: session).offer(channel) }
    let host = HostedRoom(configuration, server: server) { guests.heard($0) }
    let running = Task {
      do throws(SignalingError) {
        try await host.run()
        guests.failed(.cancelled)
      } catch {
        guests.failed(PeerError(error, at: shown))
      }
    }
    let end = { @Sendable [own] in
      running.cancel()
      await host.stop()
      await own?.shutdown()
      share?.stop()
      guests.finish()
    }
    do throws(PeerError) {
      try await guests.waitUntilReady()
    } catch {
      await end()
      throw error
    }
    return Host(guests, running, end: end)
  }

  /// What the other side connects to: `CODE@SERVER`. After ten wrong attempts it is replaced; see `codes`.
  public var code: String { guests.code.now }

  /// The code now, and each that replaces it because somebody has tried ten wrong ones. Guests that are there stay. Ends
  /// when the host is closed. Each iterator hears of all.
  public var codes: Feed<String> { Feed(guests.code, of: self) }

  /// Something that the program may want to tell its user. More cases may be added: a `switch` has a `default`.
  public enum Event: Sendable, Hashable {
    /// New guests can come.
    case reachable
    /// The signaling server has been lost, and why: until it is reached again no new guests can come, and none whose
    /// connection breaks can come back. Those that are connected stay.
    case unreachable(String)
    /// Somebody has tried a wrong code. After `triesLeft` more of them it is replaced.
    case wrongCode(triesLeft: Int)
  }

  /// Whether the host can be reached now, `.reachable` or `.unreachable`, and each event from here on. Ends when the host
  /// is closed. Each iterator hears of all, but one that is late misses the oldest.
  public var events: Feed<Event> { Feed(guests.events, of: self) }

  /// The guests, each once, as they come. Ends when the host is closed. All iterators share it: each guest goes to one of
  /// them.
  public var peers: Feed<Peer> { Feed { self.nextPeer } }

  private func nextPeer() async -> Peer? { await guests.arrivals.next() }

  /// Calls `body` with each guest that comes, in a task of its own. For those who prefer callbacks to `peers`; not both.
  /// It does not keep the host.
  /// - Returns: the task that calls; cancel it to hear of no more.
  @discardableResult
  public func onPeer(_ body: @escaping @Sendable (Peer) async -> Void) -> Task<Void, Never> {
    Task { [arrivals = guests.arrivals] in
      while let peer = await arrivals.next() { Task { await body(peer) } }
    }
  }

  /// Closes all guests gracefully, as `Peer.close` does, and stops waiting.
  public func close(within grace: Duration = .seconds(10)) async {
    let peers = guests.leave()
    await withTaskGroup(of: Void.self) { group in
      for peer in peers { group.addTask { await peer.close(within: grace) } }
    }
    await end()
  }
}

import Core
import Export
import Pairing
import Session
import Signaling
import Transport

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
/// It takes up to 16 guests at a time, and keeps each until it leaves; one whose connection breaks is let in again without
/// the code. A host that nobody holds any more, nor its sequences, is closed at once with all of its guests.
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

    var configuration = HostPeer.Configuration()
    configuration.code = given?.code
    configuration.timeout = options.timeoutSeconds
    configuration.ice.includesLoopback = LocalAddress.isLoopback(shown.host)
    if let share { configuration.makeResponder = { share.session() } }
    let guests = Guests(server: shown)
    configuration.onChannel = { channel, session in guests.inbox(of: session).offer(channel) }
    let host = HostPeer(configuration, server: server) { guests.heard($0) }
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
  public var code: String { guests.code }

  /// The code now, and each that replaces it because somebody has tried ten wrong ones. Guests that are there stay. One
  /// reader at a time.
  public var codes: AsyncStream<String> { guests.codes }

  /// The guests, each once, as they come. Ends when the host is closed. All iterators share it.
  public var peers: Peers { Peers(host: self) }

  /// The guests of a host, as they come.
  public struct Peers: AsyncSequence, Sendable {
    fileprivate let host: Host

    /// See `Peers`.
    public struct AsyncIterator: AsyncIteratorProtocol {
      fileprivate let host: Host
      fileprivate var arrivals: AsyncStream<Peer>.AsyncIterator

      /// The next guest; nil when the host was closed, or the task cancelled.
      public mutating func next() async -> Peer? { await arrivals.next() }

      /// As `next()`.
      public mutating func next(isolation actor: isolated (any Actor)?) async -> Peer? {
        await arrivals.next(isolation: actor)
      }
    }

    /// Starts to iterate.
    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(host: host, arrivals: host.guests.arrivals.makeAsyncIterator())
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

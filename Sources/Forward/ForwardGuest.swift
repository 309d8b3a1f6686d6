import P2PFSCore
package import Logging
import NIOCore
import NIOPosix
package import P2PFSSession
import Synchronization
import P2PFSWire

/// The side that asks for forwards: listens on this computer for those of `-L`, has the peer listen for those of `-R`,
/// and connects to what these name, and to nothing else.
package final class ForwardGuest: Sendable {
  /// What the user should hear about.
  package enum Event: Sendable {
    /// The peer listens for a forward of `-R`: at first, and again after it was lost.
    case listensThere(ForwardSpec, Endpoint)
    /// It has not answered for a moment: maybe an earlier session has the address still.
    case waitsThere(ForwardSpec)
    /// It does not any more; it is asked again. The reason is the peer's: escape it.
    case lostThere(ForwardSpec, String)
    /// It was asked again, and does not; it is asked on. Once until it listens.
    case refusedThere(ForwardSpec, ForwardError)
    /// So many connections are open that further ones wait.
    case full(Int)
  }

  private struct State {
    /// Those at which nothing is accepted yet.
    var sockets: [(spec: ForwardSpec, sockets: [ListeningSocket])] = []
    var listeners: [SocketListener] = []
    var upkeep: [Task<Void, Never>] = []
    var isOver = false
  }

  private let local: [ForwardSpec]
  private let remote: [ForwardSpec]
  private let log: Logger
  private let peer: NIOLoopBound<ForwardedPeer>
  private let state = Mutex(State())

  /// Listens at the addresses of `local`, so that it is known at once if that cannot be. Connections that come wait
  /// until `start`. May block for the lookup of a name.
  /// - Parameters:
  ///   - local: forwards from this computer to the peer's, `-L`.
  ///   - remote: forwards from the peer's computer to this one, `-R`; at most 256.
  package init(
    local: [ForwardSpec], remote: [ForwardSpec], log: Logger = Logger(label: "p2pfs.forward")
  ) async throws(ForwardError) {
    precondition(remote.count <= 256, "they are numbered in a byte")
    self.local = local
    self.remote = remote
    self.log = log
    guard
      let peer = try? await ForwardLoop.loop.submit({ NIOLoopBound(ForwardedPeer(log), eventLoop: ForwardLoop.loop) })
        .get()
    else { preconditionFailure("the loop lives as long as the process") }
    self.peer = peer
    for spec in local {
      do {
        let sockets = try ListeningSocket.listen(at: spec.listen)
        state.withLock { $0.sockets.append((spec, sockets)) }
      } catch {
        throw .cannotListen(error.address, error.reason)
      }
    }
  }

  /// Takes a channel that the peer has opened: a connection that came to a listener of `-R`. Thread-safe; never blocks.
  package func accept(_ channel: SessionChannel) {
    guard case .accepted(let number)? = ForwardName(parsing: channel.name), remote.indices.contains(Int(number)) else {
      log.info("the other computer opened a channel that nobody asked for: \(channel.name)")
      return channel.reset(.refused, "nobody asked for it")
    }
    let target = remote[Int(number)].target
    ForwardLoop.loop.execute { [peer] in peer.value.connect(channel, to: target) }
  }

  /// Asks the peer whether it allows all that is wanted, and has it listen for the forwards of `-R`, from now on
  /// whenever it is there.
  /// - Parameter report: called from tasks; must not block.
  package func ask(_ session: Session, report: @escaping @Sendable (Event) -> Void) async throws(ForwardError) {
    ForwardLoop.loop.execute { [peer] in
      // Not on the loop: to tell somebody may block.
      peer.value.accepted.onFull = { [count = Limits.Forward.connections] in Task { report(.full(count)) } }
    }
    for target in local.map(\.target).uniqued { try await check(target, session) }
    for (number, spec) in remote.enumerated() {
      let listener = RemoteListener(number: UInt8(number), spec: spec, session: session)
      let notice = Task {
        try await Task.sleep(for: .seconds(Limits.Forward.notice))
        report(.waitsThere(spec))
      }
      defer { notice.cancel() }
      let (channel, endpoint) = try await listener.ask()
      report(.listensThere(spec, endpoint))
      let upkeep = Task { await listener.keep(channel, report: report) }
      state.withLock { $0.upkeep.append(upkeep) }
    }
  }

  private func check(_ target: Endpoint, _ session: Session) async throws(ForwardError) {
    let channel: SessionChannel
    do { channel = try session.openChannel(ForwardName.check(target).text) } catch { throw .peer(error) }
    defer { channel.reset(.cancelled) }
    do throws(ForwardError) {
      try await channel.inTime { channel throws(SessionChannelError) in try await channel.opened() }
    } catch {
      if case .peer(.reset(.refused, _)) = error { throw .targetRefused(target) }
      throw error
    }
  }

  /// Takes the connections that come for the forwards of `-L`, those that have waited too.
  /// - Returns: each with the addresses at which it listens.
  package func start(_ session: Session) async throws(ForwardError) -> [(spec: ForwardSpec, addresses: [String])] {
    let sockets = state.withLock { state in
      defer { state.sockets = [] }
      return state.sockets
    }
    var result: [(spec: ForwardSpec, addresses: [String])] = []
    for (spec, sockets) in sockets {
      do {
        let listeners = try await SocketListener.start(sockets, slots: { [peer] in peer.value.accepted }) {
          [peer, weak session] connection, isTCP in
          guard let session else { throw SessionChannelError.peerGone }
          try peer.value.accept(connection, isTCP: isTCP, for: .connect(spec.target), on: session)
        }.get()
        let isOver = state.withLock { state in
          state.listeners += listeners
          return state.isOver
        }
        if isOver { for listener in listeners { listener.close() } }
        result.append((spec, listeners.map(\.name)))
      } catch {
        let failure = error as? ListeningSocket.Failure
        throw .cannotListen(failure?.address ?? spec.listen.text, failure?.reason ?? Connector.reason(error))
      }
    }
    return result
  }

  /// Stops listening here; what the peer does for this side ends with the session. Any number of times.
  package func end() {
    let state = state.withLock { state in
      defer { (state.sockets, state.listeners, state.upkeep, state.isOver) = ([], [], [], true) }
      return state
    }
    for (_, sockets) in state.sockets { for socket in sockets { socket.release() } }
    for listener in state.listeners { listener.close() }
    for task in state.upkeep { task.cancel() }
  }
}

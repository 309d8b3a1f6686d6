import P2PFSCore
package import Logging
import NIOCore
import NIOPosix
package import P2PFSSession
import Synchronization
import P2PFSWire

/// The guest's side of forwarding: listens on this computer for `-L`, has the peer listen for `-R`, and connects to the
/// destinations of `-R` and to nothing else.
package final class ForwardGuest: Sendable {
  /// An event for the user.
  package enum Event: Sendable {
    /// The peer listens for a forward of `-R`: for the first time, or again.
    case listensThere(ForwardSpec, Endpoint)
    /// The peer has not answered for a moment; an earlier session may still have the address.
    case waitsThere(ForwardSpec)
    /// The peer has stopped listening, and is asked again. The reason comes from the peer: escape it.
    case lostThere(ForwardSpec, String)
    /// The peer was asked again and refused; it is asked on. Reported once until it listens.
    case refusedThere(ForwardSpec, ForwardError)
    /// This many connections are open; further ones wait.
    case full(Int)
  }

  private struct State {
    /// Listening sockets that do not accept connections yet.
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

  /// Listens at the addresses of `local`, so that an error is known at once. Connections wait until `start`. May block
  /// for the lookup of a name.
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

  /// Accepts a channel that the peer has opened: a connection to a listener of `-R`. Thread-safe; never blocks.
  package func accept(_ channel: SessionChannel) {
    guard case .accepted(let number)? = ForwardName(parsing: channel.name), remote.indices.contains(Int(number)) else {
      log.info("the other computer opened a channel that nobody asked for: \(channel.name)")
      return channel.reset(.refused, "nobody asked for it")
    }
    let target = remote[Int(number)].target
    ForwardLoop.loop.execute { [peer] in peer.value.connect(channel, to: target) }
  }

  /// Asks the peer whether it allows all forwards, and has it listen for `-R`, now and after each reconnection.
  /// - Parameter report: called from tasks; must not block.
  package func ask(_ session: Session, report: @escaping @Sendable (Event) -> Void) async throws(ForwardError) {
    ForwardLoop.loop.execute { [peer] in
      // Not on the loop: a report may block.
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

  /// Accepts the connections of `-L`, including those that have waited.
  /// - Returns: each forward with the addresses at which it listens.
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

  /// Stops listening on this computer; the listeners at the peer end with the session. May be called more than once.
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

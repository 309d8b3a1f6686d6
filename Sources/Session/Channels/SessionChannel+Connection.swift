import P2PFSCore
import Synchronization
import P2PFSWire

/// What the session tells a channel: connections that come and go, and the messages of the peer on them.
extension SessionChannel {
  /// Whether there is a connection that carries it now.
  package var isConnected: Bool { state.withLock { $0.core.isAttached } }

  /// A new connection has its data channel; `connection` counts the session's connections.
  func connect(_ link: any LinkChannel, connection: UInt64) {
    let calls = state.withLock { state -> Calls? in
      guard let actions = state.core.attach(connection: connection) else { return nil }
      state.link = link
      return perform(actions, &state)
    }
    if let calls { calls.make() } else { link.close() }
  }

  /// A message of the peer on the present connection.
  func received(_ message: ChannelMessage, from link: any LinkChannel) throws(MalformedMessage) {
    let calls = try state.withLock { state throws(MalformedMessage) -> Calls in
      guard state.link === link else { return Calls() }
      // Only a credit depends on it.
      let isQueueEmpty = if case .credit = message { link.queuedBytes == 0 } else { false }
      return perform(try state.core.receive(message, isQueueEmpty: isQueueEmpty), &state)
    }
    calls.make()
  }

  /// The data channel of the present connection is gone: with the connection, or closed by the peer without a word.
  func closed(_ link: any LinkChannel, byPeer: Bool) {
    let calls = state.withLock { state in
      state.link === link ? perform(state.core.detached(byPeer: byPeer), &state) : Calls()
    }
    calls.make()
  }
}

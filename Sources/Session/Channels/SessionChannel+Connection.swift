import P2PFSCore
import Synchronization
import P2PFSWire

/// What the session tells a channel: connections that come and go, and what the peer says on them.
extension SessionChannel {
  /// Whether there is a connection that carries it now.
  package var isConnected: Bool { state.withLock { $0.link != nil } }

  /// A new connection has its data channel; `connection` counts the session's connections.
  func connect(_ link: any LinkChannel, connection: UInt64) {
    let isTaken = state.withLock { state in
      guard !state.isOver, connection > state.connection || state.link == nil else { return false }
      state.link = link
      state.connection = connection
      state.waited = 0
      state.isOpen = false
      state.hasGreeted = false
      state.isDoneSent = false
      if isOurs { greet(&state) }
      return true
    }
    if !isTaken { link.close() }
  }

  /// Sends our opening message, and behind it what may be sent without having heard the peer's.
  func greet(_ state: inout State) {
    guard !state.hasGreeted, let link = state.link else { return }
    state.hasGreeted = true
    link.send(ChannelMessage.open(state.core.opening).frame)
    if isOurs, !state.core.isKnownToPeer {
      for frame in state.core.unconfirmed { link.send(frame) }
    }
  }

  /// A message of the peer on the present connection.
  func received(_ message: ChannelMessage, from link: any LinkChannel) throws(MalformedMessage) {
    let result = state.withLock { state -> Result<Calls, MalformedMessage> in
      guard state.link === link, !state.isOver else { return .success(Calls()) }
      return Result { () throws(MalformedMessage) in try received(message, &state) }
    }
    try result.get().make()
  }

  private func received(_ message: ChannelMessage, _ state: inout State) throws(MalformedMessage) -> Calls {
    var calls = Calls()
    switch message {
    case .open(let open):
      guard !state.isOpen else { throw MalformedMessage("a channel opened twice") }
      guard open.number == number, open.keepsMessages == keepsMessages else {
        throw MalformedMessage("an opening message of another channel")
      }
      let wasKnown = state.core.isKnownToPeer
      let missing = try state.core.opened(open)
      state.isOpen = true
      if !isOurs, state.isAccepted { greet(&state) }
      // The first connection of a channel of ours brings all of it there before its answer.
      if !isOurs || wasKnown { for frame in missing { state.link?.send(frame) } }
      calls.all += state.onOpened
      state.onOpened = []
    case _ where !state.isOpen && !isOurs: throw MalformedMessage("a message before the opening one")
    case .data(let position, let piece):
      guard try state.core.heard(piece, at: position) ?? false else { return calls }
      if let onReadable = state.onReadable { calls.all.append(onReadable) }
      return calls
    case .end(let position):
      guard try state.core.heardEnd(at: position) else { return calls }
      if let onReadable = state.onReadable { calls.all.append(onReadable) }
      return calls
    case .credit(let consumed, let limit):
      if state.isBlocked, state.link?.queuedBytes == 0 { state.core.starve() }
      try state.core.credit(consumed: consumed, limit: limit)
    case .done: state.isPeerDone = true
    case .reset(let code, let text):
      calls.all += end(&state, .reset(code, text)).all
      return calls
    }
    if state.isBlocked {
      state.isBlocked = false
      if let onWritable = state.onWritable { calls.all.append(onWritable) }
    }
    if state.core.isSendingComplete {
      calls.all += state.onTaken
      state.onTaken = []
    }
    calls.all += settle(&state).all
    return calls
  }

  /// The data channel of the present connection is gone: with the connection, or closed by the peer without a word.
  func closed(_ link: any LinkChannel, byPeer: Bool) {
    let calls = state.withLock { state -> Calls in
      guard state.link === link else { return Calls() }
      state.link = nil
      state.waited = 0
      return byPeer ? end(&state, .reset(.cancelled, "")) : Calls()
    }
    calls.make()
  }
}

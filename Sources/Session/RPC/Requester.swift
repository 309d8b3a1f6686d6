package import P2PFSCore
package import SystemPackage
package import P2PFSWire

/// The peer's export, as a client sees it: requests go out, replies come back. A `Session` is one; it
/// outlives its connections.
package protocol Requester: AnyObject, Sendable {
  /// Sends a request (made by `Request.encoded` or `Request.writeFrame`); from any thread, never blocks.
  ///
  /// `completion` is called for each reply in order, the last one with `isLast`, exactly one of these; on the
  /// link's thread, or on the caller's before `send` returns if the session is over or offline for longer than
  /// its timeout. It must not block. If the peer stays away, it gets `EIO`.
  /// After a reconnection in the middle of an answer of several replies, these start again from the first.
  /// - Returns: a ticket for `abandon`.
  @discardableResult
  func send(_ request: Frame, on lane: Lane, completion: @escaping @Sendable (Reply) -> Void) -> UInt64

  /// Forgets a request: its completion is not called any more (one that is running on another thread at this
  /// moment may still end), its reply is dropped. From any thread. What it does at the peer may or may not happen.
  func abandon(_ ticket: UInt64)

  /// Bytes of `write` data without an answer that the peer takes at once. More ends the connection.
  var writeCredit: Int { get }
  /// Whether the connection is up at this moment.
  var isOnline: Bool { get }
  /// Whether the peer's export refuses every change.
  var isReadOnly: Bool { get }
  /// A handle that was never used in this session. From any thread.
  func newHandle() -> Handle
  /// Round trip time in seconds, smoothed; 0 if not measured yet.
  var roundTrip: Double { get }
  /// Has `handler` called whenever the peer's program turns out to have been started again: what it returns is sent, and
  /// answered, before anything else. Called on the link's thread; it must not block.
  /// - Returns: a number for `forgetRestart`.
  @discardableResult
  func onRestart(_ handler: @escaping @Sendable (PeerRestart) -> [RecoveryRequest]) -> UInt64
  /// Calls a handler no more; one that is running on another thread may still end.
  func forgetRestart(_ number: UInt64)
}

/// A directory that is exported to one peer: takes the peer's requests. `Export` has the real one.
package protocol Responder: AnyObject, Sendable {
  /// A request from the peer, not yet decoded behind its header. On the link's thread; must not block.
  /// Each is answered through `exchange`, once, from any thread.
  func serve(_ request: Frame, _ exchange: Exchange)
  /// Whether it refuses every change.
  var isReadOnly: Bool { get }
  /// The session is over: everything open is closed, and what was remembered of it removed. From any thread.
  func end()
  /// This program lets go of the session, which the next one may go on with: everything open is closed. From any thread.
  func suspend()
  /// What outlives this program of the session; nil: nothing.
  var memory: (any SlotMemory)? { get }
}

extension Responder {
  /// Without a memory it is all the same.
  package func suspend() { end() }
  /// None.
  package var memory: (any SlotMemory)? { nil }
}

/// What outlives a program of what a client has asked it for: `Export` keeps it in a mapped file, and looks there itself
/// when a request comes that an earlier program has had already. All calls are made under the session's lock, and only
/// store into memory.
package protocol SlotMemory: AnyObject, Sendable {
  /// Whether an earlier program has served the client with this memory (`Hello.Flags.remembers`).
  var remembers: Bool { get }
  /// See `Hello.machine`.
  var machine: UInt64 { get }
  /// The client's program has greeted, which chose this number: if it is another than before, it knows of no earlier
  /// requests, and all is forgotten.
  func greeted(by instance: UInt64)
  /// Keeps how a request that changes something ended, before its first reply leaves.
  func keep(_ reply: Frame, to request: Header)
}

/// The answering side of one request.
package protocol ReplySink: AnyObject, Sendable {
  /// Sends one reply of the exchange. From any thread.
  func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane)
  /// Ends the connection, because the peer broke the protocol.
  func violated(_ what: String)
}

/// One request of the peer, on its way through the exporter.
package struct Exchange: Sendable {
  /// The header of the request: operation and number.
  package let header: Header
  /// What the session set aside for it, and the connection that it came in on.
  let charge: RequestAdmission.Charge
  private let sink: any ReplySink

  /// An exchange whose replies go to `sink`. `connection` counts the connections: replies never go to a later one, unless
  /// the session keeps them.
  package init(header: Header, connection: UInt64, sink: any ReplySink) {
    self.init(header: header, charge: RequestAdmission.Charge(connection: connection), sink: sink)
  }

  init(header: Header, charge: RequestAdmission.Charge, sink: any ReplySink) {
    self.header = header
    self.charge = charge
    self.sink = sink
  }

  /// Sends a reply (`Frame.reply`, `.piece`, `.listing`); `isLast` must agree with the frame's `more` flag.
  package func reply(_ frame: Frame, isLast: Bool = true, on lane: Lane = .control) {
    sink.reply(frame, to: self, isLast: isLast, on: lane)
  }

  /// Ends the exchange with an error.
  package func fail(_ error: Errno) {
    reply(Frame.reply(to: header, error: error))
  }

  /// The request breaks the format: ends the connection.
  package func malformed(_ message: MalformedMessage) {
    sink.violated(message.description)
  }
}

package import P2PFSCore
package import SystemPackage
package import P2PFSWire

/// The client's view of the peer's export: sends requests, receives replies. A `Session` is one; it outlives its
/// connections.
package protocol Requester: AnyObject, Sendable {
  /// Sends a request (made by `Request.encoded` or `Request.writeFrame`); from any thread, never blocks.
  ///
  /// `completion` is called for each reply, in order; exactly one of them has `isLast`. It is called on the link's
  /// thread, or on the caller's before `send` returns, if the session is over or has been offline for longer than its
  /// timeout. It must not block. If the peer stays away it gets `EIO`. After a reconnection in the middle of several
  /// replies, they start again from the first.
  /// - Returns: a ticket for `abandon`.
  @discardableResult
  func send(_ request: Frame, on lane: Lane, completion: @escaping @Sendable (Reply) -> Void) -> UInt64

  /// Abandons a request: its completion is not called any more (one that runs on another thread at this moment may
  /// still end), and its reply is dropped. The peer may or may not execute it. From any thread.
  func abandon(_ ticket: UInt64)

  /// Bytes of unanswered `write` data that the peer accepts. Sending more ends the connection.
  var writeCredit: Int { get }
  /// Whether the connection is up at this moment.
  var isOnline: Bool { get }
  /// Whether the peer's export refuses every change.
  var isReadOnly: Bool { get }
  /// A handle that was never used in this session. From any thread.
  func newHandle() -> Handle
  /// Round trip time in seconds, smoothed; 0 if not measured yet.
  var roundTrip: Double { get }
  /// Registers a handler for restarts of the peer's program. The requests that it returns are sent and answered before
  /// any other. Called on the link's thread; it must not block.
  /// - Returns: a number for `forgetRestart`.
  @discardableResult
  func onRestart(_ handler: @escaping @Sendable (PeerRestart) -> [RecoveryRequest]) -> UInt64
  /// Removes a handler. A call that runs on another thread may still end.
  func forgetRestart(_ number: UInt64)
}

/// Executes the requests of one peer. `Export` has the real one, a directory.
package protocol Responder: AnyObject, Sendable {
  /// Executes a request of the peer, of which only the header was decoded. On the link's thread; must not block. Each
  /// is answered through `exchange`, once, from any thread.
  func serve(_ request: Frame, _ exchange: Exchange)
  /// Whether it refuses every change.
  var isReadOnly: Bool { get }
  /// The session is over: closes all open files, and removes its journal. From any thread.
  func end()
  /// This program detaches from the session, which its next run may resume: closes all open files. From any thread.
  func suspend()
  /// The part of the session that survives this program; nil if there is none.
  var memory: (any SlotMemory)? { get }
  /// Whether it has files open that other sessions could have otherwise, beyond those that each has for sure. From any
  /// thread.
  var holdsSharedFiles: Bool { get }
  /// Whether it has a file or a listing open. From any thread.
  var hasOpenFiles: Bool { get }
}

extension Responder {
  /// As `end`: without a memory there is no difference.
  package func suspend() { end() }
  /// None.
  package var memory: (any SlotMemory)? { nil }
  /// No.
  package var holdsSharedFiles: Bool { false }
  /// No.
  package var hasOpenFiles: Bool { false }
}

/// The outcomes of a client's changes that survive the exporter's program. `Export` keeps them in a mapped file, and
/// looks there itself when a request was received by an earlier program already. All calls are made under the session's
/// lock, and only store into memory.
package protocol SlotMemory: AnyObject, Sendable {
  /// Whether an earlier program has served the client with this memory (`Hello.Flags.remembers`).
  var remembers: Bool { get }
  /// See `Hello.machine`.
  var machine: UInt64 { get }
  /// The client has sent its hello with this instance number. If it differs from the last one, that program knows of no
  /// earlier requests, and all outcomes are dropped.
  func greeted(by instance: UInt64)
  /// Stores the outcome of a change, before its first reply is sent.
  func keep(_ reply: Frame, to request: Header)
}

/// The answering side of one request.
package protocol ReplySink: AnyObject, Sendable {
  /// Sends one reply of the exchange. From any thread.
  func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane)
  /// Ends the connection, because the peer broke the protocol.
  func violated(_ what: String)
}

/// One request of the peer while it is executed.
package struct Exchange: Sendable {
  /// The header of the request: operation and number.
  package let header: Header
  /// The resources that the session has reserved for it, and its connection.
  let charge: RequestAdmission.Charge
  private let sink: any ReplySink

  /// An exchange whose replies go to `sink`. `connection` counts the connections: replies never go to a later one,
  /// unless the session keeps them.
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

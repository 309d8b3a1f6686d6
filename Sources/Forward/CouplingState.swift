/// The state of the two directions of a forwarded connection: from the socket into the channel, and out of it.
///
/// ```
/// inward:   open ──EOF──▶ ended ──all of it said──▶ finished
/// outward:  open ──end──▶ flushing ──written──▶ ended
/// ```
/// The socket may be closed in any of these states: data read before is still sent to the peer, data of the peer is
/// discarded. A plain value; the caller performs the returned actions.
struct CouplingState: Equatable {
  enum Inward: Equatable { case open, ended, finished }
  enum Outward: Equatable { case open, flushing, ended }

  /// The next action of the caller.
  enum Action: Equatable {
    case nothing
    /// End this direction of the channel.
    case finish
    /// Flush the written data, then call `flushed`.
    case flush
    /// Shut the socket down for writing, and acknowledge the end to the peer.
    case shutDown
    /// Acknowledge the end to the peer.
    case consumeEnd
    /// Reset the channel: the socket broke.
    case reset
    /// Reset the channel once the peer has consumed all data: the socket broke after its end.
    case resetWhenTaken
  }

  private(set) var inward = Inward.open
  private(set) var outward = Outward.open
  private(set) var isSocketOpen = true

  /// Whether to read the socket; `hasUnsent`: whether data waits for the peer's window.
  func mayRead(hasUnsent: Bool) -> Bool { isSocketOpen && inward == .open && !hasUnsent }

  /// The local program has ended its direction.
  mutating func socketEnded(hasUnsent: Bool) -> Action {
    guard inward == .open else { return .nothing }
    inward = .ended
    return hasUnsent ? .nothing : said()
  }

  /// All data has been given to the channel.
  mutating func said() -> Action {
    guard inward == .ended else { return .nothing }
    inward = .finished
    return .finish
  }

  /// Whether data of the peer can be written.
  var takesPieces: Bool { isSocketOpen && outward == .open }

  /// The peer has ended its direction.
  mutating func peerEnded() -> Action {
    guard outward == .open else { return .nothing }
    outward = isSocketOpen ? .flushing : .ended
    return isSocketOpen ? .flush : .consumeEnd
  }

  /// All data of the peer was written.
  mutating func flushed() -> Action {
    guard outward == .flushing else { return .nothing }
    outward = .ended
    return .shutDown
  }

  /// The socket is closed, and no error was reported.
  mutating func socketClosed(hasUnsent: Bool, isTCP: Bool) -> Action {
    isSocketOpen = false
    // Both directions have ended: SwiftNIO then closes the socket, and does not report the second end separately.
    if outward == .ended { return socketEnded(hasUnsent: hasUnsent) }
    if inward == .open { return .reset }
    // After its end a TCP connection is closed from that side only by a reset, or because the computer has vanished;
    // SwiftNIO does not report which. A Unix socket is also closed when the program closes it after its last write: if
    // data of the peer is lost, that shows when the data arrives.
    return isTCP ? .resetWhenTaken : .nothing
  }
}

/// Where the two directions of a forwarded connection stand: from the socket into the channel, and out of it.
///
/// ```
/// inward:   open ──EOF──▶ ended ──all of it said──▶ finished
/// outward:  open ──end──▶ flushing ──written──▶ ended
/// ```
/// The socket may be gone in any of them: what was read before still goes to the peer, what the peer still says has
/// nowhere to go. A plain value; what it returns is to be done by the caller.
struct CouplingState: Equatable {
  enum Inward: Equatable { case open, ended, finished }
  enum Outward: Equatable { case open, flushing, ended }

  /// What is to be done next.
  enum Action: Equatable {
    case nothing
    /// Say to the peer that there is no more.
    case finish
    /// Write what is left, then call `flushed`.
    case flush
    /// Shut the socket down for writing, and tell the peer that its end was taken.
    case shutDown
    /// Tell the peer that its end was taken.
    case consumeEnd
    /// Reset the channel: the socket broke.
    case reset
    /// Reset the channel once the peer has taken all that was read: the socket broke after its end.
    case resetWhenTaken
  }

  private(set) var inward = Inward.open
  private(set) var outward = Outward.open
  private(set) var isSocketOpen = true

  /// Whether the socket is to be read; `hasUnsent`: whether something waits for the peer's window.
  func mayRead(hasUnsent: Bool) -> Bool { isSocketOpen && inward == .open && !hasUnsent }

  /// The other program will write no more.
  mutating func socketEnded(hasUnsent: Bool) -> Action {
    guard inward == .open else { return .nothing }
    inward = .ended
    return hasUnsent ? .nothing : said()
  }

  /// Nothing waits for the peer's window any more.
  mutating func said() -> Action {
    guard inward == .ended else { return .nothing }
    inward = .finished
    return .finish
  }

  /// Whether a piece of the peer has somewhere to go.
  var takesPieces: Bool { isSocketOpen && outward == .open }

  /// The peer will say no more.
  mutating func peerEnded() -> Action {
    guard outward == .open else { return .nothing }
    outward = isSocketOpen ? .flushing : .ended
    return isSocketOpen ? .flush : .consumeEnd
  }

  /// All that the peer has said was written.
  mutating func flushed() -> Action {
    guard outward == .flushing else { return .nothing }
    outward = .ended
    return .shutDown
  }

  /// The socket is closed, without an error that was told.
  mutating func socketClosed(hasUnsent: Bool, isTCP: Bool) -> Action {
    isSocketOpen = false
    // Both ends were reached: SwiftNIO closes the socket then, and does not tell the second one apart.
    if outward == .ended { return socketEnded(hasUnsent: hasUnsent) }
    if inward == .open { return .reset }
    // After its end TCP closes a connection from that side only by a reset, or because the computer vanished; SwiftNIO
    // does not tell it. A Unix socket is closed as well when the program closes it after its last word: whether what
    // the peer says was lost shows when it says something.
    return isTCP ? .resetWhenTaken : .nothing
  }
}

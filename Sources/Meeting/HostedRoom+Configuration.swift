package import P2PFSCore
package import P2PFSPairing
package import P2PFSSession
package import P2PFSSignaling
package import P2PFSTransport

extension HostedRoom {
  /// What to share, and where to be met.
  package struct Configuration: Sendable {
    /// Where it is remembered, so that it can be started again with the same code and guests; nil: nothing is
    /// remembered.
    package var memory: ExportMemory?
    /// Where to be met; nil: at a signaling server of our own.
    package var server: ServerAddress?
    /// The code to use; nil: the one remembered, or a new one.
    package var code: Code?
    /// Serve one guest, and end when it has left.
    package var isOnce = false
    /// The other side may hold the room as well: it is not reserved while the connection to the server is lost, and
    /// `run` ends with `roomOccupied` if it is taken meanwhile.
    package var sharesRoom = false
    /// The other side knows the code already: when it is spent it is not replaced, and `run` ends.
    package var keepsCode = false
    /// What lets the host of the room reclaim it from the signaling server, if that is not remembered; nil: a new one.
    package var token: RoomToken?
    /// Counts the wrong guesses at `code`, if it is used elsewhere, too; nil: it is not.
    package var guesses: GuessCounter?
    package var ice = ICEConfiguration()
    package var client = SignalClient()
    /// Seconds without a guest after which what is under way with it fails.
    package var timeout = Limits.Session.timeout
    /// Makes what serves one guest's requests for files; nil: there are none.
    package var makeResponder: (@Sendable (SessionPlace) -> any Responder)?
    /// Whether the open files that all guests share run out (`Share.isShortOfFiles`); nil: they never do.
    package var isShortOfFiles: (@Sendable () -> Bool)?
    /// Takes the channels that a guest opens (`Session.acceptChannels`); nil: there are none.
    package var onChannel: (@Sendable (SessionChannel, Session) -> Void)?

    /// A configuration with defaults.
    package init(memory: ExportMemory? = nil, makeResponder: (@Sendable (SessionPlace) -> any Responder)? = nil) {
      self.memory = memory
      self.makeResponder = makeResponder
    }
  }

  /// What the user should hear about.
  package enum Event: Sendable {
    /// Guests can come, with this code. `isNew`: it takes the place of one that was spent.
    case ready(Code, isNew: Bool)
    case wrongCode(left: Int)
    /// After too many wrong ones `run` ends, since the code is not to be replaced.
    case codeSpent
    /// One more code is spent, and a new one is made only after so many seconds.
    case codePaused(seconds: Double)
    case arrived(Session, ConnectionPath?)
    /// The connection of the guest that was reached by this path is lost; it is back; it has left for good.
    case away(ConnectionPath?)
    case back(ConnectionPath?)
    case left(ConnectionPath?)
    /// The signaling server cannot be had at first; it is tried on, since there are guests that may come back.
    case signalingAwaited(String)
    case signalingLost(String)
    case signalingBack
  }
}

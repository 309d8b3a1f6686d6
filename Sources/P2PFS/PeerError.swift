/// Why something with another computer failed: the one error that this library throws.
///
/// Switch on `code`; show `message`.
/// ```swift
/// do {
///   let peer = try await Peer.connect(to: code)
///   await peer.close()
/// } catch {
///   switch error.code {
///   case .nobodyThere: print("Start the other side first.")
///   case .wrongCode: print("Compare the code with what the other computer shows.")
///   default: print(error)
///   }
/// }
/// ```
public struct PeerError: Error, Sendable, Hashable {
  /// What kind of failure it is. More kinds may be added: a `switch` has a `default`.
  public struct Code: Sendable, Hashable {
    private enum Kind: Sendable, Hashable {
      case invalidCode, invalidArgument, signaling, nobodyThere, roomTaken, wrongCode, untrusted, noPath, refused, gone
      case closed, cancelled, reset, finished, tooLarge, unavailable, notShared, file
    }

    private let kind: Kind

    /// The text is not a code, or names no signaling server and none was given.
    public static let invalidCode = Code(kind: .invalidCode)
    /// An option or a name cannot be used.
    public static let invalidArgument = Code(kind: .invalidArgument)
    /// The signaling server cannot be reached, or is of no use.
    public static let signaling = Code(kind: .signaling)
    /// Nobody waits under this code.
    public static let nobodyThere = Code(kind: .nobodyThere)
    /// Somebody else waits under this code already.
    public static let roomTaken = Code(kind: .roomTaken)
    /// The code is wrong in its secret part. After ten such attempts the other side replaces its code.
    public static let wrongCode = Code(kind: .wrongCode)
    /// Somebody in between has changed what the two computers told each other.
    public static let untrusted = Code(kind: .untrusted)
    /// The two computers found no path to each other through the NATs: a TURN server would help.
    public static let noPath = Code(kind: .noPath)
    /// The other computer, or its program, does not want it.
    public static let refused = Code(kind: .refused)
    /// The other computer has left, or was away for longer than the timeout.
    public static let gone = Code(kind: .gone)
    /// It was closed on this side. Of an `IncomingChannel`: it was accepted or refused before.
    public static let closed = Code(kind: .closed)
    /// The task was cancelled, or `Channel.cancel` called.
    public static let cancelled = Code(kind: .cancelled)
    /// The other program has given up the channel before its end.
    public static let reset = Code(kind: .reset)
    /// Something was sent behind `Channel.finish`.
    public static let finished = Code(kind: .finished)
    /// A message is longer than `Channel.largestMessage`.
    public static let tooLarge = Code(kind: .tooLarge)
    /// There are too many channels, or the other computer's program is too old for them.
    public static let unavailable = Code(kind: .unavailable)
    /// The other computer shares no directory.
    public static let notShared = Code(kind: .notShared)
    /// The other computer's filesystem says no; `errno` tells why.
    public static let file = Code(kind: .file)
  }

  /// What kind of failure it is.
  public let code: Code
  /// A sentence for the user: what failed and why. What came from the other computer is in it with control characters
  /// escaped, so that it can be shown on a terminal.
  public let message: String
  /// The error number of Linux, for `Code.file`.
  public let errno: Int32?

  package init(_ code: Code, _ message: String, errno: Int32? = nil) {
    self.code = code
    self.message = message
    self.errno = errno
  }
}

extension PeerError: CustomStringConvertible {
  /// The message.
  public var description: String { message }
}

extension PeerError.Code: CustomStringConvertible {
  /// The name of the code, as in `nobodyThere`.
  public var description: String { "\(kind)" }
}

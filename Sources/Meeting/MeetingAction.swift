import P2PFSPairing
import P2PFSTransport

/// What the state of a meeting has decided, to be carried out in order.
enum MeetingAction: Sendable {
  /// Send this through the signaling server.
  case send([UInt8])
  /// Report `.left` after so many seconds, instead of any limit set before.
  case limit(seconds: Double)
  /// Lift the limit.
  case unlimited
  /// The guest: both know each other, and a path is looked for.
  case reportConnecting
  /// The host: ask whether there is room for the guest, whose offer this is; then `refuse` or `answer`.
  case admit(offer: String)
  /// Hand the peer's description, candidate or end of candidates to the connection.
  case apply(MeetingMessage)
  /// Report how the connection comes out.
  case awaitConnection
  /// The connection is up: the meeting is over, and this is its secret.
  case finish(ResumptionSecret)
  /// The meeting has failed.
  case fail(MeetingError)
}

/// The sealed part of a meeting, after the handshake: equal on both sides.
struct SealedConversation: Sendable {
  private var paired: PairedSession

  /// Begins behind the handshake.
  init(_ paired: PairedSession) { self.paired = paired }

  /// The secret to meet again with.
  var resumption: ResumptionSecret { paired.resumption }

  /// Sends a message, sealed.
  mutating func send(_ message: MeetingMessage) -> MeetingAction {
    do { return .send(try paired.sender.seal(message.encoded)) } catch { return .fail(.tampered("\(error)")) }
  }

  /// Opens a message of the peer; nil if its kind is unknown, as it may be of a newer version.
  mutating func receive(_ payload: [UInt8]) throws(MeetingError) -> MeetingMessage? {
    let plain: [UInt8]
    do { plain = try paired.receiver.open(payload) } catch { throw .tampered("\(error)") }
    let message = MeetingMessage(parsing: plain)
    if case .refusal(let reason) = message { throw .refused(reason) }
    return message
  }
}

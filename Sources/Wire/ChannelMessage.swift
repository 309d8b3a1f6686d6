package import P2PFSCore

/// A message on a channel between two programs, beside the RPC: a pipe, a forwarded connection, what a library's user
/// opens. Each channel is a data channel of its own, and is carried over to the next connection when one is lost.
///
/// ```
///  0      1       2      8          16
/// +------+-------+------+----------+---------
/// | kind | flags | 0    | position | …
/// +------+-------+------+----------+---------
/// ```
/// A position counts what one side has said on the channel since it was opened: each piece of data counts its bytes
/// and `Limits.Channel.pieceCost`, the end counts one. So it numbers the pieces, and a window in the same units bounds
/// the memory that they take, many small ones too.
package enum ChannelMessage: Sendable {
  /// The first message of either side on each connection.
  case open(Open)
  /// A piece, or one message, that begins at `position`; its bytes are the rest of the frame.
  case data(position: UInt64, FrameSlice)
  /// Everything below `consumed` has been taken by the receiver's program; it takes what ends at or below `limit`.
  case credit(consumed: UInt64, limit: UInt64)
  /// There is no more data; the other direction goes on.
  case end(position: UInt64)
  /// Both directions are complete as far as the sender knows: it says nothing more.
  case done
  /// The channel is over before its end, in both directions.
  case reset(ResetCode, String)

  /// What is said of a channel at the start of a connection.
  package struct Open: Sendable, Equatable {
    /// Which channel it is among those that the same side has opened in this session.
    package var number: UInt64
    /// Whether the sender knows that the other side has this channel already.
    package var isKnown: Bool
    /// Whether the pieces of data are messages, whose borders matter.
    package var keepsMessages: Bool
    /// Everything below it has arrived at the sender of this message; what lies above is sent again.
    package var received: UInt64
    /// As in `credit`.
    package var consumed: UInt64
    package var limit: UInt64

    /// An opening message of the given values.
    package init(
      number: UInt64, isKnown: Bool, keepsMessages: Bool, received: UInt64, consumed: UInt64, limit: UInt64
    ) {
      self.number = number
      self.isKnown = isKnown
      self.keepsMessages = keepsMessages
      self.received = received
      self.consumed = consumed
      self.limit = limit
    }
  }

  /// Why a channel was reset.
  package enum ResetCode: UInt64, Sendable {
    /// The program has given up, or was ended.
    case cancelled = 0
    /// Nobody takes channels of this name, or this one is not allowed; the text says why.
    case refused = 1
    /// Whoever takes the data is gone, as by EPIPE.
    case brokenPipe = 2
    /// The other side does not know a channel that was to be carried over.
    case lost = 3
    /// Something failed on the sender's side; the text says what.
    case failed = 4
  }

  private enum Kind: UInt8 {
    case open = 1
    case data, credit, end, done, reset
  }

  /// Length of what stands before the bytes of a piece.
  package static let header = 16
  private static let known: UInt8 = 1
  private static let messages: UInt8 = 2
  private static let starved: UInt8 = 4

  /// Reads a message. Unknown flags and bytes behind the known ones are ignored; an unknown kind is an error.
  package init(parsing frame: Frame) throws(MalformedMessage) {
    var reader = Reader(frame)
    guard let kind = Kind(rawValue: try reader.integer()) else {
      throw MalformedMessage("unknown message on a channel")
    }
    let flags: UInt8 = try reader.integer()
    _ = try reader.slice(6)
    let position: UInt64 = try reader.integer()
    // Positions are added to lengths: nothing comes near the end of their range by itself.
    guard position <= UInt64(Int64.max) else { throw MalformedMessage("position \(position)") }
    switch kind {
    case .open:
      let open = Open(
        number: position, isKnown: flags & Self.known != 0, keepsMessages: flags & Self.messages != 0,
        received: try reader.integer(), consumed: try reader.integer(), limit: try reader.integer())
      guard max(open.received, open.consumed, open.limit) <= UInt64(Int64.max) else {
        throw MalformedMessage("positions of an opening message")
      }
      self = .open(open)
    case .data: self = .data(position: position, reader.rest())
    case .credit:
      let limit: UInt64 = try reader.integer()
      guard limit <= UInt64(Int64.max) else { throw MalformedMessage("limit \(limit)") }
      self = .credit(consumed: position, limit: limit)
    case .end: self = .end(position: position)
    case .done: self = .done
    case .reset:
      let text = reader.rest()
      self = .reset(
        ResetCode(rawValue: position) ?? .failed,
        String(decoding: text.bytes.prefix(Limits.Channel.reason), as: UTF8.self))
    }
  }

  /// The message as it travels.
  package var frame: Frame {
    switch self {
    case .open(let open):
      let flags = (open.isKnown ? Self.known : 0) | (open.keepsMessages ? Self.messages : 0)
      let frame = Self.start(.open, flags: flags, position: open.number, more: 24)
      frame.write(open.received)
      frame.write(open.consumed)
      frame.write(open.limit)
      return frame
    case .data(let position, let slice):
      let frame = Self.dataFrame(capacity: slice.count)
      frame.write(slice.bytes)
      Self.number(frame, position)
      return frame
    case .credit(let consumed, let limit):
      let frame = Self.start(.credit, position: consumed, more: 8)
      frame.write(limit)
      return frame
    case .end(let position): return Self.start(.end, position: position)
    case .done: return Self.start(.done, position: 0)
    case .reset(let code, let text):
      let bytes = Self.cut(text)
      let frame = Self.start(.reset, position: code.rawValue, more: bytes.count)
      bytes.withUnsafeBytes { frame.write($0) }
      return frame
    }
  }

  /// A frame for a piece of at most `capacity` bytes, which the caller fills behind what is there already.
  package static func dataFrame(capacity: Int) -> Frame {
    precondition(capacity <= Limits.Channel.piece)
    return start(.data, position: 0, more: capacity)
  }

  /// Puts the position into a frame that `dataFrame` made.
  package static func number(_ frame: Frame, _ position: UInt64) { frame.number(position) }

  /// Says of a piece of data that it had to wait for the window while its sender had nothing else on the way: a wider
  /// one would be filled.
  package static func markStarved(_ frame: Frame) {
    frame.base.storeBytes(of: starved, toByteOffset: 1, as: UInt8.self)
  }

  /// Whether that is said of the piece of data in a frame.
  package static func isStarved(_ frame: Frame) -> Bool { frame.count >= header && frame.bytes[1] & starved != 0 }

  /// As much of a reason as there may be, without the half of a character at the end.
  private static func cut(_ reason: String) -> [UInt8] {
    var bytes: [UInt8] = []
    for scalar in reason.unicodeScalars {
      guard bytes.count + UTF8.width(scalar) <= Limits.Channel.reason else { break }
      bytes += String(scalar).utf8
    }
    return bytes
  }

  private static func start(_ kind: Kind, flags: UInt8 = 0, position: UInt64, more: Int = 0) -> Frame {
    let frame = Frame(capacity: header + more)
    frame.write(kind.rawValue)
    frame.write(flags)
    frame.write(UInt16(0))
    frame.write(UInt32(0))
    frame.write(position)
    return frame
  }
}

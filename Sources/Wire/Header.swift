package import SystemPackage
package import P2PFSCore

/// What a message is.
package enum MessageKind: UInt8, Sendable {
  case hello = 1
  case request = 2
  case reply = 3
  /// A sign of life, which the other side answers with `pong`.
  case ping = 4
  case pong = 5
  /// The sender is leaving for good: the session ends, nothing will be made again.
  case goodbye = 6
}

/// The start of every message.
///
/// ```
///  0      1           2       3   4         8            16
/// +------+-----------+-------+---+---------+------------+
/// | kind | operation | flags | 0 | status  | sequence   |
/// +------+-----------+-------+---+---------+------------+
/// ```
/// The sequence number of a request is a slot in its low 16 bits and, above them, a count that grows with each
/// request in that slot. A slot holds one request at a time, and a new one in it says that the answer to the last
/// has arrived: so the exporter has to keep one answer a slot, no more (the sessions of NFS 4.1, RFC 8881 2.10.6).
package struct Header: Sendable, Equatable {
  /// What the message is.
  package var kind: MessageKind
  /// Requests and replies: the operation, as its number on the wire; unknown ones are answered ENOSYS.
  package var operation: UInt8
  /// More replies to the same request follow this one (replies only).
  package var more: Bool
  /// Replies: 0, or the error number of Linux that the operation ended with.
  package var status: UInt32
  /// The number that the sender gave its request; a reply carries the number of its request.
  package var sequence: UInt64

  /// Length of the header.
  package static let length = 16
  private static let moreFlag: UInt8 = 1

  /// A header of the given values.
  package init(kind: MessageKind, operation: UInt8 = 0, more: Bool = false, status: UInt32 = 0, sequence: UInt64 = 0) {
    self.kind = kind
    self.operation = operation
    self.more = more
    self.status = status
    self.sequence = sequence
  }

  /// Reads the header (of a request, its first 16 bytes). Unknown flags are ignored.
  package init(_ reader: inout Reader) throws(MalformedMessage) {
    guard let kind = MessageKind(rawValue: try reader.integer()) else {
      throw MalformedMessage("unknown kind of message")
    }
    self.kind = kind
    operation = try reader.integer()
    more = try reader.integer(UInt8.self) & Header.moreFlag != 0
    _ = try reader.integer(UInt8.self)
    status = try reader.integer()
    sequence = try reader.integer()
  }

  /// Appends the header to `frame`.
  package func write(to frame: Frame) {
    frame.write(kind.rawValue)
    frame.write(operation)
    frame.write(more ? Header.moreFlag : 0 as UInt8)
    frame.write(0 as UInt8)
    frame.write(status)
    frame.write(sequence)
  }
}

extension Frame {
  /// Puts the number that only the session knows into a request that was encoded without it.
  package func number(_ sequence: UInt64) {
    precondition(count >= Header.length)
    (base + 8).storeBytes(of: sequence.littleEndian, as: UInt64.self)
  }
}

extension Errno {
  /// The error as it stands in a reply. A number that Linux does not know becomes EIO.
  package init(status: UInt32) {
    self = (1...133).contains(status) ? Errno(rawValue: CInt(status)) : .ioError
  }
}

package import P2PFSCore

/// A message of the Data Channel Establishment Protocol, RFC 8832 section 5.
///
/// ```
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// | type: 0x03    | channel type  |            priority           |
/// +---------------+---------------+-------------------------------+
/// |                     reliability parameter                     |
/// +-------------------------------+-------------------------------+
/// |         label length          |        protocol length        |
/// +-------------------------------+-------------------------------+
/// | label …                       | protocol …                    |
/// +-------------------------------+-------------------------------+
/// ```
/// An acknowledgement is the one byte 0x02.
package enum DataChannelEstablishment: Sendable, Equatable {
  /// Opens the channel on the stream that the message comes on. `channelType` 0 is ordered and reliable; all others
  /// relax that, which the receiver of the message need not care about.
  case open(channelType: UInt8, label: String, protocol: String)
  case acknowledge

  /// Parses a message. Labels are made printable text; those over the limit are refused.
  package init(parsing bytes: UnsafeRawBufferPointer) throws(MalformedDescription) {
    guard let type = bytes.first else { throw MalformedDescription("empty establishment message") }
    switch type {
    case 0x02: self = .acknowledge
    case 0x03:
      guard bytes.count >= 12 else { throw MalformedDescription("short open message") }
      let label = Int(bytes[8]) << 8 | Int(bytes[9])
      let name = Int(bytes[10]) << 8 | Int(bytes[11])
      guard bytes.count == 12 + label + name, label <= Limits.Transport.label, name <= Limits.Transport.label else {
        throw MalformedDescription("lengths in open message")
      }
      self = .open(
        channelType: bytes[1], label: String(decoding: bytes[12..<12 + label], as: UTF8.self),
        protocol: String(decoding: bytes[(12 + label)...], as: UTF8.self))
    default: throw MalformedDescription("establishment message of type \(type)")
    }
  }

  /// The message as it travels. Label and protocol must be within `Limits.Transport.label`.
  package var frame: Frame {
    switch self {
    case .acknowledge: return Frame(copying: [0x02])
    case .open(let type, let label, let name):
      precondition(label.utf8.count <= Limits.Transport.label && name.utf8.count <= Limits.Transport.label)
      var bytes: [UInt8] = [0x03, type, 0, 0, 0, 0, 0, 0]
      for count in [label.utf8.count, name.utf8.count] { bytes += [UInt8(count >> 8), UInt8(count & 0xff)] }
      return Frame(copying: bytes + Array(label.utf8) + Array(name.utf8))
    }
  }
}

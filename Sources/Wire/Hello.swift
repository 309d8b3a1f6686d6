package import P2PFSCore

/// The first message of either side on each connection: who speaks which version, and what it grants.
///
/// ```
///  16        18       20         28        44      45                   49             53         61         69
/// +---------+--------+----------+---------+-------+--------------------+--------------+----------+----------+
/// | version | oldest | features | session | flags | requests in flight | write credit | instance | machine  |
/// +---------+--------+----------+---------+-------+--------------------+--------------+----------+----------+
/// ```
package struct Hello: Sendable, Equatable {
  /// What a side says of itself.
  package struct Flags: OptionSet, Sendable, Equatable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// It exports a directory; without this, requests to it are answered ENOSYS.
    package static let exports = Flags(rawValue: 1)
    /// Its export refuses every change.
    package static let readOnly = Flags(rawValue: 2)
    /// It knows from a journal which changes of this session an earlier instance of it has made: requests without
    /// an answer may be sent to it again, and files be opened again (`Request.reopen`).
    package static let remembers = Flags(rawValue: 4)
  }

  /// The version of the protocol that this program speaks.
  package static let currentVersion: UInt16 = 1

  /// The newest version that the sender speaks, and the oldest.
  package var version: UInt16
  package var oldest: UInt16
  /// Optional features, one a bit; unknown ones are ignored.
  package struct Features: OptionSet, Sendable, Equatable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// It takes channels beside the RPC (`ChannelMessage`), if its program does.
    package static let channels = Features(rawValue: 1)
  }

  /// Optional features.
  package var features: Features
  /// The session that this connection carries on, as the handshake agreed; 16 bytes.
  package var session: [UInt8]
  package var flags: Flags
  /// How many requests without an answer the sender takes at once.
  package var requests: UInt32
  /// How many bytes of `write` requests without an answer the sender takes at once.
  package var writeCredit: UInt32
  /// A number that the sender has chosen at random when it began with this session. While it stays the same the
  /// sender has all that belongs to the session from earlier connections: handles, answers, numbers, channels.
  package var instance: UInt64
  /// A number that stays the same while what the sender has acknowledged is sure to be in its kernel's memory or on
  /// its disk: another one says that the machine was started again, so that what was not synced may be lost.
  package var machine: UInt64

  /// A hello of this program.
  package init(
    session: [UInt8], flags: Flags, requests: UInt32, writeCredit: UInt32, instance: UInt64, machine: UInt64
  ) {
    precondition(session.count == 16)
    version = Hello.currentVersion
    oldest = 1
    features = .channels
    self.session = session
    self.flags = flags
    self.requests = requests
    self.writeCredit = writeCredit
    self.instance = instance
    self.machine = machine
  }

  /// Reads a hello behind its header. Fields that a later version adds behind these are ignored.
  package init(_ reader: inout Reader) throws(MalformedMessage) {
    version = try reader.integer()
    oldest = try reader.integer()
    features = Features(rawValue: try reader.integer())
    session = Array(try reader.slice(16).bytes)
    flags = Flags(rawValue: try reader.integer())
    requests = try reader.integer()
    writeCredit = try reader.integer()
    instance = try reader.integer()
    machine = try reader.integer()
  }

  /// The whole message.
  package func encoded() -> Frame {
    let frame = Frame(capacity: Header.length + 53)
    Header(kind: .hello).write(to: frame)
    frame.write(version)
    frame.write(oldest)
    frame.write(features.rawValue)
    for byte in session { frame.write(byte) }
    frame.write(flags.rawValue)
    frame.write(requests)
    frame.write(writeCredit)
    frame.write(instance)
    frame.write(machine)
    return frame
  }
}

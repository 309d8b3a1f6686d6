package import SystemPackage
package import P2PFSCore

/// A reply to one of our requests, still encoded: one of several if `header.more`.
package struct Reply: Sendable {
  /// Ends a request that gets no answer from the peer.
  package static func failed(_ error: Errno) -> Reply {
    Reply(error: error, isLast: true, body: FrameSlice(Frame(capacity: 0), 0..<0))
  }

  /// What the operation ended with; nil if it was done.
  package let error: Errno?
  /// Whether this is the last reply to its request.
  package let isLast: Bool
  /// What the operation answers with (see `Request`); empty after an error.
  package let body: FrameSlice

  /// A reply of the given values.
  package init(error: Errno?, isLast: Bool, body: FrameSlice) {
    self.error = error
    self.isLast = isLast
    self.body = body
  }

  /// The reply in `frame`, behind its header.
  package init(_ header: Header, in frame: Frame) {
    self.init(
      error: header.status == 0 ? nil : Errno(status: header.status), isLast: !header.more,
      body: FrameSlice(frame, Header.length..<frame.count))
  }

  /// Decodes a body that is one value.
  package func attributes() throws(MalformedMessage) -> Attributes {
    var reader = body.reader
    return try Attributes(&reader)
  }

  /// Decodes the body of a `statfs`.
  package func statistics() throws(MalformedMessage) -> FilesystemStatistics {
    var reader = body.reader
    return try FilesystemStatistics(&reader)
  }

  /// Decodes the body of a `seek`.
  package func offset() throws(MalformedMessage) -> Int64 {
    var reader = body.reader
    let offset: Int64 = try reader.integer()
    guard (0...Limits.Wire.fileSize).contains(offset) else { throw MalformedMessage("offset out of range") }
    return offset
  }

  /// Decodes a piece of file contents, in place.
  package func piece() throws(MalformedMessage) -> Piece {
    var reader = body.reader
    let offset: Int64 = try reader.integer()
    guard (0...Limits.Wire.fileSize).contains(offset) else { throw MalformedMessage("offset out of range") }
    let version = try Attributes.Version(&reader)
    let data = reader.rest()
    guard data.count <= Limits.Wire.data else { throw MalformedMessage("piece too long") }
    return Piece(offset: offset, version: version, data: data)
  }

  /// Decodes the body of an `append`.
  package func appended() throws(MalformedMessage) -> Appended {
    var reader = body.reader
    return try Appended(&reader)
  }

  /// Decodes a page of a listing.
  package func listing() throws(MalformedMessage) -> Listing {
    var reader = body.reader
    return try Listing(&reader)
  }
}

/// A piece of a file's contents.
///
/// ```
///  0        8              40
/// +--------+--------------+-------+
/// | offset | version      | bytes |
/// +--------+--------------+-------+
/// ```
package struct Piece: Sendable {
  /// Where the bytes lie in the file.
  package let offset: Int64
  /// The state of the contents just before the bytes were read: they are of that one, or newer.
  package let version: Attributes.Version
  package let data: FrameSlice

  /// Length of the fields before the bytes.
  package static let prefixLength = 8 + Attributes.Version.length

  /// A piece of the given values.
  package init(offset: Int64, version: Attributes.Version, data: FrameSlice) {
    self.offset = offset
    self.version = version
    self.data = data
  }
}

/// What an append has done.
package struct Appended: Sendable, Equatable {
  /// Where in the file the first byte is.
  package var offset: Int64
  /// How many bytes were written.
  package var count: UInt32

  /// Length on the wire in bytes.
  package static let length = 12

  /// An append of the given values.
  package init(offset: Int64, count: UInt32) {
    self.offset = offset
    self.count = count
  }

  init(_ reader: inout Reader) throws(MalformedMessage) {
    offset = try reader.integer()
    count = try reader.integer()
    guard (0...Limits.Wire.fileSize).contains(offset), count <= Limits.Wire.append else {
      throw MalformedMessage("an append out of range")
    }
  }

  /// Appends the fields.
  package func write(to frame: Frame) {
    frame.write(offset)
    frame.write(count)
  }
}

extension FrameSlice {
  /// Reads this part of the frame; parts always reach to the end of theirs.
  package var reader: Reader {
    precondition(range.upperBound == frame.count)
    return Reader(frame, from: range.lowerBound)
  }
}

/// Starts a reply: a frame with its header, behind which the body is written.
extension Frame {
  /// A reply to `request`, with room for `body` bytes.
  package static func reply(to request: Header, error: Errno? = nil, more: Bool = false, body: Int = 0) -> Frame {
    let frame = Frame(capacity: Header.length + body)
    Header(
      kind: .reply, operation: request.operation, more: more, status: error.map { UInt32($0.rawValue) } ?? 0,
      sequence: request.sequence
    ).write(to: frame)
    return frame
  }

  /// A piece of file contents for `request`, without the bytes, for which there is room.
  package static func piece(
    for request: Header, offset: Int64, version: Attributes.Version, more: Bool, room: Int
  ) -> Frame {
    let frame = Frame.reply(to: request, more: more, body: Piece.prefixLength + room)
    frame.write(offset)
    version.write(to: frame)
    return frame
  }

  /// Says whether more replies to the same request follow, once that is known.
  package func setMore(_ more: Bool) {
    precondition(count >= Header.length)
    (base + 2).storeBytes(of: more ? 1 : 0, as: UInt8.self)
  }
}

/// A page of a directory. Several replies make the answer to one request; `isEnd` says that it is the last page
/// of the directory, and `next` where the following request goes on.
///
/// ```
///  0       8       9
/// +-------+-------+-------------------------------------------------------------+
/// | next  | isEnd | entries: hasAttributes (1), [attributes], name (2 + length)   |
/// +-------+-------+-------------------------------------------------------------+
/// ```
package struct Listing: Sendable {
  /// An entry of a directory. The name is as the peer gave it: check it (`Path.check`) before using it.
  package struct Entry: Sendable {
    package var name: [UInt8]
    /// nil if the entry vanished before it could be looked at.
    package var attributes: Attributes?

    /// An entry of the given values.
    package init(name: [UInt8], attributes: Attributes?) {
      self.name = name
      self.attributes = attributes
    }
  }

  package var entries: [Entry]
  package var next: UInt64
  package var isEnd: Bool

  init(_ reader: inout Reader) throws(MalformedMessage) {
    next = try reader.integer()
    isEnd = try reader.integer(UInt8.self) != 0
    entries = []
    while reader.remaining > 0 {
      let attributes = try reader.integer(UInt8.self) != 0 ? try Attributes(&reader) : nil
      entries.append(Entry(name: Array(try reader.string()), attributes: attributes))
    }
  }

  /// Length of the fields before the entries.
  package static let prefixLength = 9
  /// Room that an entry with a name of `count` bytes takes at most.
  package static func room(name count: Int) -> Int { 1 + Attributes.length + 2 + count }
}

extension Frame {
  /// Starts a page for `request`; entries follow by `write(entry:attributes:)`, and `finish` closes it.
  package static func listing(for request: Header) -> Frame {
    let frame = Frame.reply(to: request, more: true, body: Limits.Wire.message - Header.length)
    frame.write(0 as UInt64)
    frame.write(0 as UInt8)
    return frame
  }

  /// Appends an entry; there must be room (`Listing.room`).
  package func write(entry name: some Collection<UInt8>, attributes: Attributes?) {
    write(attributes == nil ? 0 : 1 as UInt8)
    attributes?.write(to: self)
    write(string: name)
  }

  /// Completes a page: where to go on, whether the directory ends here, whether more pages answer this request.
  package func finishListing(next: UInt64, isEnd: Bool, more: Bool) {
    (base + Header.length).storeBytes(of: next.littleEndian, as: UInt64.self)
    (base + Header.length + 8).storeBytes(of: isEnd ? 1 : 0, as: UInt8.self)
    setMore(more)
  }
}

import P2PFSCore
import SystemPackage
import Testing
import P2PFSWire

@Suite struct ReplyTests {
  private let request = Header(kind: .request, operation: 14, sequence: 0x0102_0304_0506_0708)

  private func reply(_ frame: Frame) throws -> Reply {
    var reader = Reader(frame)
    return Reply(try Header(&reader), in: frame)
  }

  @Test func `a header is what the protocol draws`() throws {
    let frame = Frame.reply(to: request, error: .noSpace, more: true)
    #expect(bytes(frame) == [3, 14, 1, 0, 28, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1])
    let reply = try reply(frame)
    #expect(reply.error == .noSpace && !reply.isLast && reply.body.count == 0)
    frame.setMore(false)
    #expect(try self.reply(frame).isLast)
    for count in 0..<frame.count {
      var reader = Reader(cut(frame, count))
      #expect(throws: MalformedMessage.self) { try Header(&reader) }
    }
    for kind: UInt8 in [0, 7, 255] {
      var reader = Reader(Frame(copying: [kind] + [UInt8](repeating: 0, count: 15)))
      #expect(throws: MalformedMessage.self) { try Header(&reader) }
    }
  }

  @Test func `errors that Linux does not know are EIO`() {
    #expect(Errno(status: 1) == .notPermitted)
    #expect(Errno(status: 133).rawValue == 133)
    #expect(Errno(status: 134) == .ioError)
    #expect(Errno(status: .max) == .ioError)
  }

  @Test func `attributes come back, and are refused cut or false`() throws {
    let frame = Frame.reply(to: request, body: Attributes.length)
    Samples.attributes.write(to: frame)
    #expect(frame.count == Header.length + Attributes.length)
    #expect(try reply(frame).attributes() == Samples.attributes)
    for count in Header.length..<frame.count {
      let twin = try reply(cut(frame, count))
      #expect(throws: MalformedMessage.self) { try twin.attributes() }
    }
    func with(_ change: (inout Attributes) -> Void) throws -> Reply {
      var attributes = Samples.attributes
      change(&attributes)
      let frame = Frame.reply(to: request, body: Attributes.length)
      attributes.write(to: frame)
      return try reply(frame)
    }
    let twins = [
      try with { $0.mode = 0o644 }, try with { $0.mode = 0o030644 }, try with { $0.mode = .max },
      try with { $0.mode = 0o1_100644 }, try with { $0.size = -1 }, try with { $0.size = .max },
      try with { $0.size = Limits.Wire.fileSize + 1 }, try with { $0.modified.nanoseconds = 1_000_000_000 },
      try with { $0.changed.nanoseconds = .max },
    ]
    for twin in twins { #expect(throws: MalformedMessage.self) { try twin.attributes() } }
  }

  @Test func `an append comes back, within bounds`() throws {
    func twin(_ offset: Int64, _ count: UInt32) throws -> Reply {
      let frame = Frame.reply(to: request, body: Appended.length)
      Appended(offset: offset, count: count).write(to: frame)
      return try reply(frame)
    }
    let most = UInt32(Limits.Wire.append)
    #expect(try twin(5, most).appended() == Appended(offset: 5, count: most))
    for (offset, count) in [(-1, 0), (Limits.Wire.fileSize + 1, 0), (0, most + 1)] as [(Int64, UInt32)] {
      let twin = try twin(offset, count)
      #expect(throws: MalformedMessage.self) { try twin.appended() }
    }
  }

  @Test func `pieces of contents come back where they lie`() throws {
    let version = Samples.attributes.version
    let frame = Frame.piece(for: request, offset: 1 << 40, version: version, more: true, room: 3)
    for byte: UInt8 in [7, 8, 9] { frame.write(byte) }
    let piece = try reply(frame).piece()
    #expect(piece.offset == 1 << 40)
    #expect(piece.version == version)
    withExtendedLifetime(piece) { #expect(Array(piece.data.bytes) == [7, 8, 9]) }
    let empty = try reply(Frame.piece(for: request, offset: 0, version: version, more: false, room: 0)).piece()
    #expect(empty.data.count == 0)
    for offset in [-1, Int64.min, Int64.max, Limits.Wire.fileSize + 1] {
      let twin = try reply(Frame.piece(for: request, offset: offset, version: version, more: false, room: 0))
      #expect(throws: MalformedMessage.self) { try twin.piece() }
    }
    let large = Frame.piece(
      for: request, offset: 0, version: version, more: false, room: Limits.Wire.data + 1)
    for _ in 0...Limits.Wire.data { large.write(0 as UInt8) }
    let twin = try reply(large)
    #expect(throws: MalformedMessage.self) { try twin.piece() }
    let short = try reply(cut(frame, Header.length + Piece.prefixLength - 1))
    #expect(throws: MalformedMessage.self) { try short.piece() }
  }

  @Test func `offsets and statistics come back`() throws {
    let offset = Frame.reply(to: request, body: 8)
    offset.write(Limits.Wire.fileSize)
    #expect(try reply(offset).offset() == Limits.Wire.fileSize)
    let negative = Frame.reply(to: request, body: 8)
    negative.write(-1 as Int64)
    let twin = try reply(negative)
    #expect(throws: MalformedMessage.self) { try twin.offset() }
    let statistics = FilesystemStatistics(
      blockSize: 1, fragmentSize: 2, blocks: 3, freeBlocks: 4, availableBlocks: 5, files: 6, freeFiles: .max,
      nameLength: 8)
    let frame = Frame.reply(to: request, body: 64)
    statistics.write(to: frame)
    #expect(try reply(frame).statistics() == statistics)
    let short = try reply(cut(frame, frame.count - 1))
    #expect(throws: MalformedMessage.self) { try short.statistics() }
  }

  @Test func `a page of a listing comes back, and is refused cut`() throws {
    let frame = Frame.listing(for: request)
    let name = [UInt8](repeating: 0xfe, count: 255)
    frame.write(entry: name, attributes: Samples.attributes)
    frame.write(entry: [65], attributes: nil)
    frame.finishListing(next: .max, isEnd: true, more: false)
    #expect(frame.count <= Header.length + Listing.prefixLength + Listing.room(name: 255) + Listing.room(name: 1))
    let page = try reply(frame).listing()
    #expect(page.next == .max && page.isEnd)
    #expect(page.entries.map(\.name) == [name, [65]])
    #expect(page.entries.map(\.attributes) == [Samples.attributes, nil])
    let firstEnd = Header.length + Listing.prefixLength + Listing.room(name: 255)
    for count in Header.length..<frame.count where count != Header.length + Listing.prefixLength && count != firstEnd {
      let twin = try reply(cut(frame, count))
      #expect(throws: MalformedMessage.self) { try twin.listing() }
    }
  }
}

@Suite struct HelloTests {
  private let hello = Hello(
    session: (0..<16).map { UInt8($0) }, flags: [.exports, .readOnly], requests: .max, writeCredit: 7, instance: 8,
    machine: 9)

  private func decode(_ frame: Frame) throws -> Hello {
    var reader = Reader(frame)
    #expect(try Header(&reader).kind == .hello)
    return try Hello(&reader)
  }

  @Test func `a hello comes back`() throws {
    let frame = hello.encoded()
    #expect(frame.count == frame.capacity)
    #expect(try decode(frame) == hello)
  }

  @Test func `a hello of a later version has more behind it`() throws {
    #expect(try decode(Frame(copying: bytes(hello.encoded()) + [1, 2, 3])) == hello)
  }

  @Test func `a hello that is cut is malformed`() {
    let whole = bytes(hello.encoded())
    for count in Header.length..<whole.count {
      #expect(throws: MalformedMessage.self) { try decode(Frame(copying: whole[..<count])) }
    }
  }
}

@Suite struct PathTests {
  @Test(arguments: ["", "a", "a/b", "...", ".a", "a..", "..a/b..", " ", "a\nb", "\u{7f}"])
  func `paths that are some`(text: String) throws {
    let path = try Path(Array(text.utf8))
    #expect(path.bytes == Array(text.utf8))
    #expect(path.isRoot == text.isEmpty)
  }

  @Test(arguments: ["/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "./a", "../a", "a/../b", "a\0", "\0", "a/\0/b"])
  func `paths that are none`(text: String) {
    #expect(throws: Errno.invalidArgument) { try Path(Array(text.utf8)) }
  }

  @Test func `names and paths have a longest`() throws {
    let name = [UInt8](repeating: 0xff, count: 255)
    #expect(try Path(name).components.count == 1)
    #expect(throws: Errno.fileNameTooLong) { try Path(name + [65]) }
    let deepest = Array([[UInt8]](repeating: [65], count: Limits.Wire.depth).joined(separator: [47]))
    #expect(deepest.count == Limits.Wire.path)
    #expect(try Path(deepest).components.count == Limits.Wire.depth)
    #expect(throws: Errno.fileNameTooLong) { try Path(deepest + [65]) }
    #expect(throws: Errno.fileNameTooLong) { try Path(deepest).appending([65]) }
  }

  @Test func `a path is its directory and its name`() throws {
    let path = try Path(Array("a/b/c".utf8))
    let (parent, name) = try #require(path.parentAndName)
    #expect(parent.bytes == Array("a/b".utf8) && Array(name) == Array("c".utf8))
    #expect(try parent.appending(name) == path)
    #expect(try Path(Array("a".utf8)).parentAndName?.parent == .root)
    #expect(Path.root.parentAndName == nil)
    for bad in ["", ".", "..", "a/b", "a\0"] {
      #expect(throws: Errno.invalidArgument) { try path.appending(Array(bad.utf8)) }
    }
  }
}

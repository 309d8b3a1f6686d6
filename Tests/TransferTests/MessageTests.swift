import P2PFSCore
import SystemPackage
import Rig
import Testing
import P2PFSWire

@testable import P2PFSTransfer

/// Well-formed messages, with the extremes of their fields.
func samples() throws -> [TransferMessage] {
  let hash = ContentHash([UInt8](0..<32))
  let time = Timestamp(seconds: .min, nanoseconds: 999_999_999)
  let path = try Path(Array("a/\u{1b}[31m\n/\u{ff}".utf8))
  var offer = TransferMessage.Offer()
  (offer.files, offer.bytes, offer.tops) = (UInt64(Limits.Transfer.entries), Limits.Wire.fileSize, 1_000)
  offer.names = (0..<UInt8(Limits.Transfer.names)).map { [UInt8](repeating: 65 + $0, count: 255) }
  return [
    .hello(.init(sends: true, claim: Array("me@here".utf8))), .hello(.init(sends: false, claim: [], version: .max)),
    .offer(.init()), .offer(offer), .accept, .decline("no"), .decline(""),
    .entry(.init(.directory, mode: 0o7777, modified: time, path: path)),
    .entry(.init(.file(size: Limits.Wire.fileSize), mode: 0, modified: time, path: path)),
    .entry(.init(.link(target: Array("../x".utf8)), mode: 0o777, modified: time, path: path)),
    .want(number: 1, have: 0, hash: nil), .want(number: 1, have: 0, hash: hash),
    .want(number: 1_000_000, have: Limits.Wire.fileSize, hash: hash),
    .check(number: 7), .begin(number: 7, offset: 9), .end(number: 7, hash: hash),
    .problem(.init(number: 0, path: [], reason: "")), .problem(.init(number: 7, path: path.bytes, reason: "why")),
    .complete, .result(.init()), .data(slice([1, 2, 3])),
  ]
}

func slice(_ bytes: [UInt8]) -> FrameSlice {
  let frame = Frame(copying: bytes)
  return FrameSlice(frame, 0..<frame.count)
}

/// The bytes of a message.
func encoded(_ message: TransferMessage) -> [UInt8] {
  let piece = message.piece
  return piece.bytes.dropFirst(ChannelMessage.header).map { $0 }
}

@Suite(.onThreads) struct MessageTests {
  @Test func `every message comes out as it went in`() throws {
    for message in try samples() {
      let bytes = encoded(message)
      #expect(encoded(try TransferMessage(parsing: slice(bytes))) == bytes, "\(message)")
    }
  }

  @Test func `a message that is cut or too long is refused`() throws {
    for message in try samples() {
      let bytes = encoded(message)
      if case .data = message { continue }
      for count in 0..<bytes.count {
        #expect(throws: MalformedMessage.self, "\(message)") {
          try TransferMessage(parsing: slice(Array(bytes[..<count])))
        }
      }
      if case .hello = message { continue }
      #expect(throws: MalformedMessage.self, "\(message)") { try TransferMessage(parsing: slice(bytes + [0])) }
    }
  }

  @Test(arguments: ["..", "a/../b", "/a", "a//b", "a/", "", ".", "a\0b", String(repeating: "x", count: 256)])
  func `an entry whose path leads nowhere is refused`(_ name: String) throws {
    let good = TransferEntry(
      .directory, mode: 0o755, modified: Timestamp(seconds: 0, nanoseconds: 0), path: try Path(Array("x".utf8)))
    // The path is the last field: its length in two bytes, then "x".
    var bytes = encoded(.entry(good)).dropLast(3)
    let length = UInt16(name.utf8.count)
    bytes += [UInt8(length & 255), UInt8(length >> 8)] + Array(name.utf8)
    #expect(throws: MalformedMessage.self) { try TransferMessage(parsing: slice(Array(bytes))) }
  }

  @Test func `sizes and offsets out of range are refused`() {
    for value in [Int64.max, -1, .min, Limits.Wire.fileSize + 1] {
      let field = withUnsafeBytes(of: value.littleEndian) { Array($0) }
      let one = withUnsafeBytes(of: UInt64(1).littleEndian) { Array($0) }
      #expect(throws: MalformedMessage.self) {
        try TransferMessage(parsing: slice([TransferMessage.Kind.begin.rawValue] + one + field))
      }
      #expect(throws: MalformedMessage.self) {
        try TransferMessage(parsing: slice([TransferMessage.Kind.want.rawValue] + one + field + [UInt8](0..<32)))
      }
    }
  }

  @Test func `an offer tells all names as far as there is room, each once`() throws {
    func offer(_ tops: UInt64, _ names: String...) -> TransferMessage {
      var offer = TransferMessage.Offer()
      (offer.tops, offer.names) = (tops, names.map { Array($0.utf8) })
      return .offer(offer)
    }
    _ = try TransferMessage(parsing: slice(encoded(offer(2, "a", "b"))))
    for wrong in [offer(1), offer(2, "a"), offer(1, "a", "b"), offer(2, "a", "a"), offer(0, "a"), offer(17, "a")] {
      #expect(throws: MalformedMessage.self) { try TransferMessage(parsing: slice(encoded(wrong))) }
    }
  }

  @Test func `a part has a name of its own that fits`() throws {
    #expect(PartName.name(for: Array("a.txt".utf8)[...]) == Array(".a.txt.p2pfs-part".utf8))
    for length in [242, 243, 244, 254, 255] {
      let one = [UInt8](repeating: 65, count: length - 1)
      let names = [PartName.name(for: (one + [66])[...]), PartName.name(for: (one + [67])[...])]
      #expect(names[0] != names[1] && names.allSatisfy { $0.count <= 255 && PartName.isOne($0) })
    }
    #expect(PartName.name(for: Array("a".utf8)[...], isShort: true).count == 29)
    // Not in the middle of a character.
    let long = PartName.name(for: Array(String(repeating: "ü", count: 127).utf8)[...])
    #expect(String(validating: long, as: UTF8.self) != nil && PartName.isOne(long))
    #expect(!PartName.isOne(Array("x.p2pfs-part".utf8)) && !PartName.isOne(Array(".p2pfs-part".utf8)))
  }
}

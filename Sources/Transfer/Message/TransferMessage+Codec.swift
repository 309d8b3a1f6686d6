package import P2PFSCore
import P2PFSSession
import SystemPackage
package import P2PFSWire

extension TransferMessage {
  /// Decodes a message of the channel. Everything is bounded and checked: a path is a `Path` and not the root, sizes
  /// and offsets are from 0 to `Limits.Wire.fileSize`, and links stay inside. A violation is an error.
  package init(parsing message: FrameSlice) throws(MalformedMessage) {
    let end = message.range.upperBound
    var reader = Reader(message.frame, from: message.range.lowerBound)
    guard message.count > 0, let kind = Kind(rawValue: try reader.integer()) else {
      throw MalformedMessage("unknown message of a transfer")
    }
    switch kind {
    case .hello:
      let version: UInt16 = try reader.integer()
      let sends: UInt8 = try reader.integer()
      self = .hello(Hello(sends: sends != 0, claim: try Self.bytes(&reader, Limits.Transfer.claim), version: version))
      // A later version may append fields.
      return
    case .offer: self = .offer(try Offer(&reader))
    case .accept: self = .accept
    case .decline: self = .decline(try Self.text(&reader))
    case .entry: self = .entry(try TransferEntry(&reader))
    case .want:
      let (number, have) = (try Self.number(&reader), try Self.offset(&reader))
      self = .want(number: number, have: have, hash: have > 0 ? try ContentHash(&reader) : nil)
    case .check: self = .check(number: try Self.number(&reader))
    case .begin: self = .begin(number: try Self.number(&reader), offset: try Self.offset(&reader))
    case .data:
      guard message.count > 1 else { throw MalformedMessage("empty contents") }
      self = .data(FrameSlice(message.frame, reader.offset..<end))
      return
    case .end: self = .end(number: try Self.number(&reader), hash: try ContentHash(&reader))
    case .problem:
      let number: UInt64 = try reader.integer()
      let path = try Self.bytes(&reader, Limits.Wire.path)
      self = .problem(TransferProblem(number: number, path: path, reason: try Self.text(&reader)))
    case .complete: self = .complete
    case .result:
      var result = TransferResult()
      result.files = try reader.integer()
      result.bytes = try Self.offset(&reader)
      result.problems = try reader.integer()
      self = .result(result)
    }
    guard reader.offset == end else { throw MalformedMessage("a transfer's message of another length") }
  }

  private static func number(_ reader: inout Reader) throws(MalformedMessage) -> UInt64 {
    let number: UInt64 = try reader.integer()
    guard (1...UInt64(Limits.Transfer.entries)).contains(number) else { throw MalformedMessage("number of an entry") }
    return number
  }

  static func offset(_ reader: inout Reader) throws(MalformedMessage) -> Int64 {
    let offset: Int64 = try reader.integer()
    guard (0...Limits.Wire.fileSize).contains(offset) else { throw MalformedMessage("a size out of range") }
    return offset
  }

  static func bytes(_ reader: inout Reader, _ limit: Int) throws(MalformedMessage) -> [UInt8] {
    let bytes = Array(try reader.string())
    guard bytes.count <= limit else { throw MalformedMessage("a text of \(bytes.count) bytes") }
    return bytes
  }

  private static func text(_ reader: inout Reader) throws(MalformedMessage) -> String {
    String(decoding: try bytes(&reader, Limits.Transfer.text), as: UTF8.self)
  }

  /// The encoded message. For `data` use `contents`, which needs no copy.
  package var piece: Frame {
    switch self {
    case .hello(let hello):
      let frame = Self.start(.hello, 8 + hello.claim.count)
      frame.write(hello.version)
      frame.write(UInt8(hello.sends ? 1 : 0))
      frame.write(string: hello.claim)
      return frame
    case .offer(let offer): return offer.piece
    case .accept: return Self.start(.accept)
    case .decline(let why):
      let text = Self.cut(why)
      let frame = Self.start(.decline, 2 + text.count)
      frame.write(string: text)
      return frame
    case .entry(let entry): return entry.piece
    case .want(let number, let have, let hash):
      let frame = Self.start(.want, 16 + ContentHash.length)
      frame.write(number)
      frame.write(have)
      // As in decoding: zero bytes have no hash.
      if have > 0, let hash { hash.write(to: frame) }
      return frame
    case .check(let number):
      let frame = Self.start(.check, 8)
      frame.write(number)
      return frame
    case .begin(let number, let offset):
      let frame = Self.start(.begin, 16)
      frame.write(number)
      frame.write(offset)
      return frame
    case .data(let slice):
      let frame = Self.contents(capacity: slice.count)
      frame.write(slice.bytes)
      return frame
    case .end(let number, let hash):
      let frame = Self.start(.end, 8 + ContentHash.length)
      frame.write(number)
      hash.write(to: frame)
      return frame
    case .problem(let problem):
      let text = Self.cut(problem.reason)
      let frame = Self.start(.problem, 12 + problem.path.count + text.count)
      frame.write(problem.number)
      frame.write(string: problem.path)
      frame.write(string: text)
      return frame
    case .complete: return Self.start(.complete)
    case .result(let result):
      let frame = Self.start(.result, 24)
      frame.write(result.files)
      frame.write(result.bytes)
      frame.write(result.problems)
      return frame
    }
  }

  /// A frame for at most `capacity` bytes of contents, which the caller appends.
  package static func contents(capacity: Int) -> Frame { start(.data, capacity) }

  static func start(_ kind: Kind, _ more: Int = 0) -> Frame {
    let frame = SessionChannel.piece(capacity: 1 + more)
    frame.write(kind.rawValue)
    return frame
  }

  private static func cut(_ text: String) -> [UInt8] { Array(text.utf8.prefix(Limits.Transfer.text)) }
}

extension TransferMessage.Offer {
  init(_ reader: inout Reader) throws(MalformedMessage) {
    files = try reader.integer()
    directories = try reader.integer()
    links = try reader.integer()
    bytes = try TransferMessage.offset(&reader)
    tops = try reader.integer()
    let most = UInt64(Limits.Transfer.entries)
    guard max(files, directories, links, tops) <= most, files + directories + links <= most else {
      throw MalformedMessage("an offer of more than \(most) entries")
    }
    let count: UInt8 = try reader.integer()
    // The user agrees to the names that are shown, so all names must be given as far as there is room.
    guard UInt64(count) == min(tops, UInt64(Limits.Transfer.names)) else {
      throw MalformedMessage("an offer of \(tops) names that tells \(count)")
    }
    for _ in 0..<count {
      let name = try TransferMessage.bytes(&reader, Limits.Wire.name)
      do { try Path.check(component: name) } catch { throw MalformedMessage("a name that cannot be one") }
      guard !names.contains(name) else { throw MalformedMessage("an offer of one name twice") }
      names.append(name)
    }
  }

  fileprivate var piece: Frame {
    let names = names.prefix(Limits.Transfer.names)
    let frame = TransferMessage.start(.offer, 41 + names.reduce(0) { $0 + 2 + $1.count })
    frame.write(files)
    frame.write(directories)
    frame.write(links)
    frame.write(bytes)
    frame.write(tops)
    frame.write(UInt8(names.count))
    for name in names { frame.write(string: name) }
    return frame
  }
}

extension TransferEntry {
  private enum Code: UInt8 {
    case directory = 1
    case file, link
  }

  fileprivate init(_ reader: inout Reader) throws(MalformedMessage) {
    guard let code = Code(rawValue: try reader.integer()) else { throw MalformedMessage("an entry of no known type") }
    mode = try reader.integer()
    guard mode & ~0o777 == 0 else { throw MalformedMessage("a mode with more than permissions") }
    modified = Timestamp(seconds: try reader.integer(), nanoseconds: try reader.integer())
    guard modified.nanoseconds < 1_000_000_000 else { throw MalformedMessage("nanoseconds out of range") }
    do { path = try Path(try TransferMessage.bytes(&reader, Limits.Wire.path)) } catch {
      throw MalformedMessage("a path that leads nowhere")
    }
    guard !path.isRoot else { throw MalformedMessage("an entry without a name") }
    switch code {
    case .directory: kind = .directory
    case .file: kind = .file(size: try TransferMessage.offset(&reader))
    case .link:
      let target = try TransferMessage.bytes(&reader, Limits.Wire.linkTarget)
      guard LinkTarget.staysInside(target, of: path) else { throw MalformedMessage("a link to the outside") }
      kind = .link(target: target)
    }
  }

  fileprivate var piece: Frame {
    let more: Int
    let code: Code
    switch kind {
    case .directory: (code, more) = (.directory, 0)
    case .file: (code, more) = (.file, 8)
    case .link(let target): (code, more) = (.link, 2 + target.count)
    }
    let frame = TransferMessage.start(.entry, 19 + path.bytes.count + more)
    frame.write(code.rawValue)
    frame.write(mode)
    frame.write(modified.seconds)
    frame.write(modified.nanoseconds)
    frame.write(string: path.bytes)
    switch kind {
    case .directory: break
    case .file(let size): frame.write(size)
    case .link(let target): frame.write(string: target)
    }
    return frame
  }
}

extension ContentHash {
  fileprivate init(_ reader: inout Reader) throws(MalformedMessage) {
    bytes = Array(try reader.slice(Self.length).bytes)
  }

  fileprivate func write(to frame: Frame) { bytes.withUnsafeBytes { frame.write($0) } }
}

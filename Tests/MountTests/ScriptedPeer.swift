import P2PFSCore
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// A peer made by hand: it answers as the test says, which need not be decent.
final class ScriptedPeer: Requester {
  /// The replies to a request; nil for none at all.
  typealias Script = @Sendable (Request) -> [Reply]?

  private let script: Script
  private let handles = Atomic<UInt64>(1)
  private let online = Atomic<Bool>(true)
  private let counts = Mutex<[Operation: Int]>([:])
  private let held = Mutex<[@Sendable (Reply) -> Void]>([])

  init(_ script: @escaping Script) { self.script = script }

  func send(_ request: Frame, on lane: Lane, completion: @escaping @Sendable (Reply) -> Void) -> UInt64 {
    var reader = Reader(request, from: Header.length)
    guard let decoded = try? Request(operation: request.bytes[1], &reader) else {
      completion(.failed(.noFunction))
      return 0
    }
    counts.withLock { $0[decoded.operation, default: 0] += 1 }
    guard let replies = script(decoded) else {
      held.withLock { $0.append(completion) }
      return 0
    }
    for reply in replies { completion(reply) }
    return 0
  }

  func abandon(_ ticket: UInt64) {}
  var writeCredit: Int { Limits.Session.writeCredit }
  var isOnline: Bool { online.load(ordering: .relaxed) }
  let isReadOnly = false
  func newHandle() -> Handle { Handle(rawValue: handles.wrappingAdd(1, ordering: .relaxed).oldValue) }
  let roundTrip = 0.0
  func onRestart(_ handler: @escaping @Sendable (PeerRestart) -> [RecoveryRequest]) -> UInt64 { 0 }
  func forgetRestart(_ number: UInt64) {}

  /// How often an operation was asked for.
  func count(_ operation: Operation) -> Int { counts.withLock { $0[operation] ?? 0 } }

  /// From now on it cannot be reached.
  func vanish() { online.store(false, ordering: .relaxed) }

  /// What was never answered fails, as a session does when its time is over.
  func expire() {
    let completions = held.withLock { held in
      defer { held = [] }
      return held
    }
    for completion in completions { completion(.failed(.ioError)) }
  }
}

extension Reply {
  /// A reply with the body that `write` writes.
  static func with(isLast: Bool = true, _ write: (Frame) -> Void) -> Reply {
    let frame = Frame(capacity: 2_097_152)
    write(frame)
    return Reply(error: nil, isLast: isLast, body: FrameSlice(frame, 0..<frame.count))
  }

  static func told(_ attributes: Attributes, isLast: Bool = true) -> Reply {
    .with(isLast: isLast) { attributes.write(to: $0) }
  }

  static func piece(
    _ offset: Int64, _ bytes: [UInt8], isLast: Bool = true, version: Attributes.Version = Attributes.root.version
  ) -> Reply {
    .with(isLast: isLast) { frame in
      frame.write(offset)
      version.write(to: frame)
      bytes.withUnsafeBytes { frame.write($0) }
    }
  }

  static func page(_ entries: [(String, Attributes?)], next: UInt64 = 0, isEnd: Bool = true) -> Reply {
    .with { frame in
      frame.write(next)
      frame.write(isEnd ? 1 : 0 as UInt8)
      for (name, attributes) in entries { frame.write(entry: Array(name.utf8), attributes: attributes) }
    }
  }

  static let done = Reply.with { _ in }
}

extension Attributes {
  static func made(_ type: P2PFSWire.FileType, inode: UInt64, size: Int64 = 0, mode: UInt32 = 0o644, links: UInt32 = 1)
    -> Attributes
  {
    let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 1)
    return Attributes(
      mode: type.rawValue | mode, links: links, identity: FileIdentity(device: 1, inode: inode, generation: 0),
      size: size, blocks: 0, accessed: time,
      modified: time, changed: time, rights: [.read, .write, .execute, .owner])
  }

  static let root = Attributes.made(.directory, inode: 10, mode: 0o755)
}

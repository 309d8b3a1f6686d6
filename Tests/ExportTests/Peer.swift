import P2PFSCore
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

@testable import P2PFSExport

/// A peer that speaks to a session of an export without a connection: collects what is answered.
final class Peer: ReplySink {
  private struct State {
    var replies: [UInt64: [(reply: Reply, lane: Lane)]] = [:]
    var finished: Set<UInt64> = []
    var sequence: UInt64 = 0
    var handle: UInt64 = 0
    var violations: [String] = []
    var keeps = true
    var isDead = false
  }

  private let state = Mutex(State())
  let responder: any Responder

  init(_ share: Share) { responder = share.session() }

  /// A peer whose session outlives the exporter.
  init(_ share: Share, journal: String, _ identity: [UInt8]) {
    responder = share.session(identity, journal: journal)
    responder.memory?.greeted(by: 1)
  }

  /// Whether answers are kept in the journal.
  var keeps: Bool {
    get { state.withLock { $0.keeps } }
    set { state.withLock { $0.keeps = newValue } }
  }

  private var isDead: Bool {
    get { state.withLock { $0.isDead } }
    set { state.withLock { $0.isDead = newValue } }
  }

  /// The number of the next request.
  var next: UInt64 { state.withLock { Peer.number($0.sequence + 1) } }
  /// As a session numbers them, whose slots are all used in turn.
  static func number(_ count: UInt64) -> UInt64 { count << 16 | count & 1_023 }
  /// Goes on behind the request with this number.
  func start(after sequence: UInt64) { state.withLock { $0.sequence = sequence >> 16 } }

  deinit { if !isDead { responder.end() } }

  /// The exporter's process dies.
  func die() {
    isDead = true
    responder.suspend()
  }

  /// What `reply` holds in full.
  struct Answer {
    var error: Errno? { replies.last?.reply.error }
    let replies: [(reply: Reply, lane: Lane)]

    func attributes() throws -> Attributes {
      if let error = replies.first?.reply.error { throw error }
      guard let first = replies.first else { throw Errno.noMessage }
      return try first.reply.attributes()
    }

    /// The contents in pieces; `skipping` replies are no pieces.
    func contents(skipping: Int = 0) throws -> [UInt8] {
      var result: [UInt8] = []
      for (reply, _) in replies.dropFirst(skipping) {
        if let error = reply.error { throw error }
        let data = try reply.piece().data
        withExtendedLifetime(data) { result += Array(data.bytes) }
      }
      return result
    }
  }

  var violations: [String] { state.withLock { $0.violations } }

  func newHandle() -> Handle {
    state.withLock { state in
      state.handle += 1
      return Handle(rawValue: state.handle)
    }
  }

  func reply(_ frame: Frame, to exchange: Exchange, isLast: Bool, on lane: Lane) {
    var reader = Reader(frame)
    guard let header = try? Header(&reader) else { fatalError("a reply without a header") }
    precondition(header.more == !isLast, "the frame says \(header.more), the call \(!isLast)")
    precondition(frame.count <= Limits.Wire.message)
    precondition(header.sequence == exchange.header.sequence && header.kind == .reply)
    if keeps { responder.memory?.keep(frame, to: exchange.header) }
    state.withLock { state in
      precondition(!state.finished.contains(header.sequence), "two last replies")
      state.replies[header.sequence, default: []].append((Reply(header, in: frame), lane))
      if isLast { state.finished.insert(header.sequence) }
    }
  }

  func violated(_ what: String) { state.withLock { $0.violations.append(what) } }

  /// Sends a request without waiting.
  @discardableResult
  func begin(_ request: Request) -> UInt64 { begin(request.encoded()) }

  /// Sends a message as it is, but for its number.
  @discardableResult
  func begin(_ frame: Frame) -> UInt64 {
    let sequence = state.withLock { state in
      state.sequence += 1
      return Peer.number(state.sequence)
    }
    frame.number(sequence)
    var reader = Reader(frame)
    guard let header = try? Header(&reader) else { fatalError("not a request") }
    responder.serve(frame, Exchange(header: header, connection: 1, sink: self))
    return sequence
  }

  /// Waits for the last reply, 20 seconds at most.
  func wait(_ sequence: UInt64) -> Answer? {
    let deadline = Instant.now.advanced(by: 20)
    var pause: UInt32 = 20
    while Instant.now < deadline {
      let replies = state.withLock { state -> [(reply: Reply, lane: Lane)]? in
        guard state.finished.remove(sequence) != nil else { return nil }
        return state.replies.removeValue(forKey: sequence)
      }
      if let replies { return Answer(replies: replies) }
      usleep(pause)
      pause = min(pause * 2, 2_000)
    }
    return nil
  }

  /// Whether the request is answered; takes no time.
  func isAnswered(_ sequence: UInt64) -> Bool { state.withLock { $0.finished.contains(sequence) } }

  /// Sends a request and waits for the answer.
  func ask(_ request: Request) throws -> Answer {
    guard let answer = wait(begin(request)) else { throw Errno.timedOut }
    return answer
  }

  /// Sends a request that must be done, and gives its answer.
  @discardableResult
  func done(_ request: Request) throws -> Answer {
    let answer = try ask(request)
    if let error = answer.error { throw error }
    return answer
  }

  /// The error of a request; nil if it was done.
  func error(_ request: Request) throws -> Errno? { try ask(request).error }

  /// Opens or creates a file.
  func open(_ path: Path, _ options: OpenOptions = .read) throws -> Handle {
    let handle = newHandle()
    try done(.open(handle, path, options, prefetch: 0))
    return handle
  }

  func create(_ path: Path, _ options: OpenOptions = [.read, .write], mode: UInt32 = 0o644) throws -> Handle {
    let handle = newHandle()
    try done(.create(handle, path, options, mode: mode))
    return handle
  }

  func write(_ handle: Handle, _ text: String, at offset: Int64 = 0) throws {
    try done(.write(handle, offset: offset, slice(Array(text.utf8))))
  }

  func read(_ handle: Handle, at offset: Int64 = 0, count: UInt32 = 1 << 20) throws -> [UInt8] {
    try ask(.read(handle, offset: offset, count: count)).contents()
  }

  /// All entries of a directory.
  func list(_ path: Path) throws -> [Listing.Entry] {
    let handle = newHandle()
    var (entries, cookie): ([Listing.Entry], UInt64) = ([], 0)
    while true {
      let pages = try done(.list(handle, path, cookie: cookie)).replies
      for (reply, _) in pages {
        let page = try reply.listing()
        entries += page.entries
        cookie = page.next
        if page.isEnd { return entries }
      }
    }
  }
}

func slice(_ bytes: [UInt8]) -> FrameSlice {
  let frame = Frame(copying: bytes)
  return FrameSlice(frame, 0..<frame.count)
}

/// A path that the test knows to be well formed.
func path(_ text: String) throws -> Path { try Path(Array(text.utf8)) }

/// The file at `path` as it is here; nil if it cannot be read.
func contents(_ path: FilePath) -> [UInt8]? {
  let descriptor = open(path.string, O_RDONLY)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var result: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    guard count > 0 else { return count == 0 ? result : nil }
    result += buffer[..<count]
  }
}

/// Writes a file for a test to find.
func place(_ text: String, at path: FilePath, mode: mode_t = 0o644) throws {
  let descriptor = open(path.string, O_WRONLY | O_CREAT | O_TRUNC, mode)
  guard descriptor >= 0 else { throw Errno(rawValue: errno) }
  defer { close(descriptor) }
  let bytes = Array(text.utf8)
  guard write(descriptor, bytes, bytes.count) == bytes.count else { throw Errno(rawValue: errno) }
  _ = fchmod(descriptor, mode)
}

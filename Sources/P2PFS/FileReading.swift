import P2PFSCore
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// A file of the peer that is being read, from one end of a range to the other. It is closed with the last reference.
/// When the peer's program is started again it is opened again by its path, and read on if it is the same file.
///
/// Replies come on the link's thread, the reader is a task; one lock guards the state. One task reads at a time.
final class FileReading: Sendable {
  private struct State {
    var ahead: ReadAhead
    var failure: Errno?
    var isOpen = false
    /// Which file it is, once it is open.
    var identity: FileIdentity?
    /// By which it hears of restarts no more.
    var restarts: UInt64?
    var tickets: [Int: UInt64] = [:]
    /// Chunks whose answers were here before their tickets.
    var answered: Set<Int> = []
    var reader: CheckedContinuation<Void, Never>?
    /// Whether something has come in that no reader has seen.
    var isSignalled = false
  }

  private let files: PeerFiles
  private var requester: any Requester { files.requester }
  private let path: Path
  private let handle: Handle
  private let state: Mutex<State>
  private let reading = AsyncMutex()

  /// Opens the file at `path`, to read `range` or all of it. Keeps the peer.
  init(_ files: PeerFiles, _ path: Path, _ range: Range<Int64>?) {
    self.files = files
    self.path = path
    handle = files.requester.newHandle()
    let all = 0..<Limits.Wire.fileSize
    state = Mutex(State(ahead: ReadAhead((range ?? all).clamped(to: all))))
    let restarts = requester.onRestart { [weak self] _ in (self?.reopening).map { [$0] } ?? [] }
    state.withLock { $0.restarts = restarts }
    let open = Request.open(handle, path, .read, prefetch: 0).encoded()
    requester.send(open, on: .control) { [weak self] reply in self?.opened(reply) }
    // The peer serves the requests of one handle in their order, so the first chunk need not wait for the answer.
    askOn()
  }

  deinit {
    let (tickets, failure, restarts) = state.withLock { (Array($0.tickets.values), $0.failure, $0.restarts) }
    if let restarts { requester.forgetRestart(restarts) }
    for ticket in tickets { requester.abandon(ticket) }
    // A file that could not be opened has nothing to close; if that is not known yet, the peer says so to nobody.
    if failure == nil || state.withLock({ $0.isOpen }) { requester.close(handle) }
  }

  /// The next piece; nil at the end.
  func next() async throws(PeerError) -> Bytes? {
    guard await reading.take() else { throw .cancelled }
    defer { reading.give() }
    while true {
      let (piece, failure, isFinished) = state.withLock { state in
        // What an open that fails has overtaken is not read.
        let piece = state.isOpen ? state.ahead.take() : nil
        return (piece, state.failure, state.isOpen && state.ahead.isFinished)
      }
      if let piece {
        askOn()
        return Bytes(piece)
      }
      // What goes wrong when all is here does not matter.
      if isFinished { return nil }
      if let failure { throw files.failure(failure, about: path) }
      askOn()
      await wait()
      if Task.isCancelled { throw .cancelled }
    }
  }

  // MARK: - Asking

  private func askOn() {
    let asks = state.withLock { $0.failure == nil ? $0.ahead.asks() : [] }
    for ask in asks {
      let request = Request.read(handle, offset: ask.offset, count: UInt32(ask.count)).encoded()
      let ticket = requester.send(request, on: .control) { [weak self] reply in self?.received(reply, ask.number) }
      state.withLock { state in
        if state.answered.remove(ask.number) == nil { state.tickets[ask.number] = ticket }
      }
    }
  }

  private func opened(_ reply: Reply) {
    update { state throws(Errno) in
      if let error = reply.error { throw error }
      guard let attributes = try? reply.attributes() else { throw .ioError }
      guard attributes.type != .directory else { throw .isDirectory }
      guard attributes.type == .regular else { throw .invalidArgument }
      state.isOpen = true
      state.identity = attributes.identity
      state.ahead.opened(size: attributes.size)
    }
  }

  /// What the peer's program is asked before anything else when it was started again; nil if it does not know the file:
  /// then the opening is asked for again, or has failed.
  private var reopening: RecoveryRequest? {
    let identity = state.withLock { $0.failure == nil ? $0.identity : nil }
    guard let identity else { return nil }
    let request = Request.reopen(handle, path, .read, identity).encoded()
    return RecoveryRequest(request) { [weak self] reply in
      guard let error = reply.error else { return }
      self?.update { state throws(Errno) in throw error }
    }
  }

  private func received(_ reply: Reply, _ number: Int) {
    update { state throws(Errno) in
      if reply.isLast, state.tickets.removeValue(forKey: number) == nil { state.answered.insert(number) }
      if let error = reply.error {
        // Whoever could not open it learns why by the answer to that.
        guard state.isOpen else { return }
        throw error
      }
      guard let piece = try? reply.piece(),
        state.ahead.receive(piece.data, at: piece.offset, isLast: reply.isLast, for: number)
      else { throw .ioError }
    }
  }

  /// Changes the state on behalf of the peer; what is thrown is the reading's failure. Wakes the reader.
  private func update(_ body: (inout State) throws(Errno) -> Void) {
    let reader = state.withLock { state in
      do throws(Errno) { try body(&state) } catch { state.failure = state.failure ?? error }
      defer { state.reader = nil }
      state.isSignalled = state.reader == nil
      return state.reader
    }
    reader?.resume()
  }

  // MARK: - Waiting

  private func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isNow = state.withLock { state in
          if state.isSignalled || Task.isCancelled {
            state.isSignalled = false
            return true
          }
          state.reader = continuation
          return false
        }
        if isNow { continuation.resume() }
      }
    } onCancel: {
      update { _ in }
    }
  }
}

import P2PFSCore
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

extension PeerFiles {
  /// Sends a request and waits for its last reply. `each` is called with every reply that is no error, in order, on the
  /// link's thread; what it throws ends the wait. If the task is cancelled the request is abandoned.
  /// - Parameter path: what the request speaks of, for the error.
  func ask(
    _ request: Request, about path: Path, _ each: @escaping @Sendable (Reply) throws(Errno) -> Void
  ) async throws(PeerError) {
    let asked = Asked()
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        guard asked.begin(continuation) else { return }
        let ticket = requester.send(request.encoded(), on: .control) { [weak requester] reply in
          guard !asked.isOver else { return }
          do throws(Errno) {
            if let error = reply.error { throw error }
            try each(reply)
            if reply.isLast { asked.end(.success(())) }
          } catch {
            // The rest of the answer is of no use.
            if let ticket = asked.end(.failure(error)), !reply.isLast { requester?.abandon(ticket) }
          }
        }
        if !asked.note(ticket) { requester.abandon(ticket) }
      }
    } onCancel: {
      if let ticket = asked.end(nil) { requester.abandon(ticket) }
    }
    guard let result else { throw .cancelled }
    do { try result.get() } catch { throw failure(error, about: path) }
  }

  /// What an error of a request is to the program.
  func failure(_ error: Errno, about path: Path) -> PeerError {
    switch error {
    case .noFunction: PeerError(.notShared, "the other computer shares no directory")
    case .ioError where !requester.isOnline: PeerError(.peerGone, isClosedHere: peer?.isClosedHere ?? false)
    default: PeerError(error, path: String(pathBytes: path.bytes))
    }
  }
}

extension Requester {
  /// Closes a handle, whatever comes of it.
  func close(_ handle: Handle) { send(Request.close(handle).encoded(), on: .control) { _ in } }
}

/// One request and the task that waits for it.
private final class Asked: Sendable {
  typealias Outcome = Result<Void, Errno>

  private struct State {
    var continuation: CheckedContinuation<Outcome?, Never>?
    var ticket: UInt64?
    var isOver = false
  }

  private let state = Mutex(State())

  /// Whether nobody waits any more.
  var isOver: Bool { state.withLock { $0.isOver } }

  /// The task waits. Returns false if it was cancelled before.
  func begin(_ continuation: CheckedContinuation<Outcome?, Never>) -> Bool {
    let isOver = state.withLock { state in
      if !state.isOver { state.continuation = continuation }
      return state.isOver
    }
    if isOver { continuation.resume(returning: nil) }
    return !isOver
  }

  /// The request was sent. Returns false if nobody waits any more.
  func note(_ ticket: UInt64) -> Bool {
    state.withLock { state in
      state.ticket = ticket
      return !state.isOver
    }
  }

  /// It is over; nil if the task was cancelled. Returns the request's ticket, if this is what ended it.
  @discardableResult
  func end(_ outcome: Outcome?) -> UInt64? {
    let (continuation, ticket) = state.withLock { state in
      defer { state.isOver = true }
      guard !state.isOver else { return (nil as CheckedContinuation<Outcome?, Never>?, nil as UInt64?) }
      return (state.continuation, state.ticket)
    }
    continuation?.resume(returning: outcome)
    return ticket
  }
}

package import P2PFSCore
import Synchronization
import P2PFSWire

/// A channel for tasks: sending and receiving suspend.
///
/// One task may send and one receive at a time; they may be different ones. A task that is cancelled while it waits
/// gets `SessionChannelError.cancelled`, and the channel goes on.
package final class AsyncChannel: Sendable {
  package let channel: SessionChannel
  private let readable = Signal()
  private let writable = Signal()

  /// Becomes the one user of `channel`.
  package init(_ channel: SessionChannel) {
    self.channel = channel
    channel.attach(onReadable: { [readable] in readable.wake() }, onWritable: { [writable] in writable.wake() })
  }

  /// The next piece or message; nil at the end. `last`, the one before, is acknowledged, so that the peer may send as
  /// much more.
  package func next(after last: FrameSlice?) async throws(SessionChannelError) -> FrameSlice? {
    if let last { channel.consumed(last) }
    while !channel.isReceivingComplete {
      switch try channel.receive() {
      case .piece(let piece): return piece
      case .end:
        // Everything has arrived; whether the peer learns of that does not matter to the reader.
        channel.consumedEnd()
        return nil
      case .nothing: try await readable.wait()
      }
    }
    return nil
  }

  /// Sends a piece that was made by `SessionChannel.piece`; waits for room.
  package func send(_ piece: Frame) async throws(SessionChannelError) {
    while try !channel.send(piece) { try await writable.wait() }
  }
}

/// Lets one task wait for something that may have happened already.
private final class Signal: Sendable {
  private enum State {
    case quiet
    case signalled
    case waiting(CheckedContinuation<Void, Never>)
  }

  private let state = Mutex(State.quiet)

  /// It has happened.
  func wake() {
    let continuation = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard case .waiting(let continuation) = state else {
        state = .signalled
        return nil
      }
      state = .quiet
      return continuation
    }
    continuation?.resume()
  }

  /// Waits until it has happened since the last wait.
  func wait() async throws(SessionChannelError) {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isNow = state.withLock { state in
          switch state {
          case .waiting: preconditionFailure("a channel has one reader and one writer")
          case .quiet where !Task.isCancelled:
            state = .waiting(continuation)
            return false
          case .quiet, .signalled:
            state = .quiet
            return true
          }
        }
        if isNow { continuation.resume() }
      }
    } onCancel: {
      wake()
    }
    if Task.isCancelled { throw .cancelled }
  }
}

extension SessionChannel {
  /// Waits until the peer's program has accepted a channel of ours.
  package func opened() async throws(SessionChannelError) {
    await withCheckedContinuation { continuation in whenOpened { continuation.resume() } }
    if let failure { throw failure }
  }

  /// Waits until it is over: returns if it was complete in both directions and the peer knows, otherwise throws why
  /// not. Ends in bounded time only once everything was said and heard, or the session is over.
  package func over() async throws(SessionChannelError) {
    await withCheckedContinuation { continuation in whenOver { continuation.resume() } }
    if let failure { throw failure }
  }
}

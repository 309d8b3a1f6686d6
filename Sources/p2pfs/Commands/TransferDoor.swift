import P2PFSCore
import P2PFSMeeting
import P2PFSSession
import Synchronization
import P2PFSTransfer
import P2PFSWire

/// Where the channel of a transfer comes from: who came to the room opens it, who held the room takes it.
final class TaskChannel: Sendable {
  private enum State {
    case waiting(CheckedContinuation<Void, Never>?)
    case taken(SessionChannel)
    /// Something else was opened.
    case wrong(String)
    case gone
  }

  static let name = "transfer"
  private let state = Mutex(State.waiting(nil))
  private let command: String

  /// - Parameter command: what runs here, to tell the other side.
  init(_ command: String) { self.command = command }

  /// Takes what the peer opens.
  func take(_ channel: SessionChannel) {
    let isRight = channel.name == TaskChannel.name && channel.keepsMessages
    let isTaken = settle(isRight ? .taken(channel) : .wrong(channel.name))
    if isRight, isTaken {
      channel.accept()
    } else {
      channel.reset(.refused, "\"\(command)\" runs there")
    }
  }

  /// Returns false if it was settled before.
  @discardableResult
  private func settle(_ new: State) -> Bool {
    let (isFirst, continuation) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
      guard case .waiting(let continuation) = state else { return (false, nil) }
      state = new
      return (true, continuation)
    }
    continuation?.resume()
    return isFirst
  }

  /// Seconds in which the other side's program opens the channel, and as many for its first word: its connection may
  /// break and be made again meanwhile.
  static func patience(_ options: MeetingOptions) -> Double { max(Limits.Transfer.opening, options.timeout) }

  /// The channel to a peer. Ends within `patience` seconds, at once if the task is cancelled.
  func channel(to peer: ConnectedPeer, within patience: Double) async throws(Failure) -> SessionChannel {
    guard peer.isHost else {
      settle(.gone)
      do throws(SessionChannelError) {
        return try peer.session.openChannel(TaskChannel.name, keepsMessages: true)
      } catch {
        throw Failure(.failed, Console.escaped("\(error)"))
      }
    }
    peer.session.observe { [weak self] state in if state == .over || state == .expired { self?.settle(.gone) } }
    if peer.session.status == .over { settle(.gone) }
    let limit = Task {
      try? await Task.sleep(for: .seconds(patience))
      if !Task.isCancelled { settle(.wrong("")) }
    }
    defer { limit.cancel() }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isSettled = state.withLock { state in
          guard case .waiting = state else { return true }
          state = .waiting(continuation)
          return false
        }
        if isSettled { continuation.resume() }
      }
    } onCancel: {
      settle(.gone)
    }
    switch state.withLock({ $0 }) {
    case .taken(let channel): return channel
    case .wrong: throw Failure(.failed, TaskChannel.somethingElse(command, ""))
    case _ where Task.isCancelled || Signals.received != 0: throw Failure(.interrupted, "interrupted")
    case .gone, .waiting: throw Failure(.failed, "the other computer left before anything was sent. Try again.")
    }
  }

  /// Said when the other side runs something that does not go with `command`.
  static func somethingElse(_ command: String, _ why: String) -> String {
    let other = command == "p2pfs send" ? "p2pfs receive" : "p2pfs send"
    return "the other computer runs something else than \"\(other)\""
      + (why.isEmpty ? "." : ": \(Console.escaped(why))")
  }
}

extension ConnectedPeer {
  /// Ends the relation; after a failure when the other side has had a moment to hear why, and to leave by itself.
  func leave(afterFailure: Bool) async {
    // In a task of its own: one that was interrupted does not wait any more.
    await Task {
      if afterFailure { await session.whenOver(within: Limits.Transfer.word) }
      await end()
    }.value
  }

}

extension Failure {
  /// Why a transfer ended. `hasBegun`: something may have arrived.
  init(_ failure: TransferFailure, command: String, peer: ConnectedPeer, hasBegun: Bool) {
    let kept = hasBegun ? "\nWhat has arrived is kept: the same commands go on where this ended." : ""
    switch failure {
    case _ where Signals.received != 0: self.init(.interrupted, "interrupted." + kept)
    case .declined(let why): self.init(.failed, "the other computer did not take it: \(Console.escaped(why))")
    case .refused(let why): self.init(.failed, why)
    case .sameRole(let sends):
      let (both, other) = sends ? ("send", "p2pfs receive") : ("receive", "p2pfs send")
      self.init(.failed, "both computers \(both). Run \"\(other)\" on one of them.")
    case .version(let version):
      self.init(
        .failed,
        "the other computer's p2pfs speaks version \(version) of the transfer, this one \(TransferMessage.version). "
          + "Use the same p2pfs on both.")
    case .violated(let what):
      self.init(.failed, "the other computer broke the rules of the transfer: \(Console.escaped(what))." + kept)
    case .local(let what): self.init(.failed, Console.escaped(what) + kept)
    case .silent:
      let other = command == "p2pfs send" ? "p2pfs receive" : "p2pfs send"
      self.init(.failed, "no response from the other computer. Is \"\(other)\" running there?")
    case .channel(.peerGone): self.init(.noPeer, "the other computer is gone." + kept)
    case .channel(.reset(.refused, _)) where peer.session.peerExports:
      self.init(.failed, "the other computer shares a folder: mount it with \"p2pfs mount\".")
    case .channel(.reset(.refused, let why)):
      self.init(.failed, TaskChannel.somethingElse(command, why))
    case .channel(let error): self.init(.failed, Console.escaped("\(error).") + kept)
    }
  }
}

/// Prints what is not there in the end, the first of it by name.
final class ProblemReport: Sendable {
  private let count = Atomic<Int>(0)
  private let progress: Progress

  init(_ progress: Progress) { self.progress = progress }

  func add(_ problem: TransferProblem) {
    let number = count.add(1, ordering: .relaxed).newValue
    if number <= Limits.Transfer.problemsShown {
      // Of several entries, or of a sender that does not say.
      let path = problem.path.isEmpty ? "" : Progress.name(problem.path) + ": "
      let reason = problem.reason.isEmpty ? "left out" : Console.escaped(problem.reason)
      progress.say("p2pfs: \(path)\(reason)")
    } else if number == Limits.Transfer.problemsShown + 1 {
      progress.say("p2pfs: and more")
    }
  }
}

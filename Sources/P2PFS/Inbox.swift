import Core
import DequeModule
import Session
import Synchronization
import Wire

/// The channels that the other computer has opened and that nobody has taken yet. Each is taken within
/// `Limits.Library.taking` seconds, or refused. From any thread.
final class Inbox: Sendable {
  /// Takes a channel; false if it does not any more.
  typealias Taker = @Sendable (SessionChannel) -> Void

  private struct State {
    var waiting: Deque<SessionChannel> = []
    var readers: Deque<(number: UInt64, continuation: CheckedContinuation<SessionChannel?, Never>)> = []
    var nextReader: UInt64 = 0
    var takers: [String: Taker] = [:]
    var isOver = false
  }

  private enum Step {
    case take(Taker)
    case hand(CheckedContinuation<SessionChannel?, Never>)
    case wait
    case refuse
  }

  private let state = Mutex(State())

  /// A channel has been opened. On the link's thread.
  func offer(_ channel: SessionChannel) {
    let step = state.withLock { state -> Step in
      if let taker = state.takers[channel.name] { return .take(taker) }
      if let reader = state.readers.popFirst() { return .hand(reader.continuation) }
      guard !state.isOver, state.waiting.count < Limits.Channel.open else { return .refuse }
      state.waiting.append(channel)
      return .wait
    }
    switch step {
    case .take(let taker): taker(channel)
    case .hand(let continuation): continuation.resume(returning: channel)
    case .refuse: channel.reset(.refused, "it takes no more channels")
    case .wait:
      Task { [weak self] in
        try? await Task.sleep(for: .seconds(Limits.Library.taking))
        self?.expire(channel)
      }
    }
  }

  private func expire(_ channel: SessionChannel) {
    let isWaiting = state.withLock { state in
      state.waiting.firstIndex { $0 === channel }.map { _ = state.waiting.remove(at: $0) } != nil
    }
    if isWaiting { channel.reset(.refused, "it takes no channels of this name") }
  }

  /// Has a taker get the channels of a name from now on, those that wait included.
  func register(_ name: String, _ taker: @escaping Taker) {
    let waiting = state.withLock { state -> [SessionChannel] in
      guard !state.isOver else { return [] }
      state.takers[name] = taker
      defer { state.waiting.removeAll { $0.name == name } }
      return state.waiting.filter { $0.name == name }
    }
    for channel in waiting { taker(channel) }
  }

  /// The next channel that no taker gets; nil when there will be none, or the task was cancelled.
  func next() async -> SessionChannel? {
    let number = state.withLock { state in
      state.nextReader += 1
      return state.nextReader
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let result = state.withLock { state -> SessionChannel?? in
          if let channel = state.waiting.popFirst() { return .some(channel) }
          if state.isOver || Task.isCancelled { return .some(nil) }
          state.readers.append((number, continuation))
          return .none
        }
        if let result { continuation.resume(returning: result) }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        state.readers.firstIndex { $0.number == number }.map { state.readers.remove(at: $0).continuation }
      }
      continuation?.resume(returning: nil)
    }
  }

  /// There will be no more.
  func finish() {
    let (readers, waiting) = state.withLock { state in
      defer { (state.readers, state.waiting, state.takers, state.isOver) = ([], [], [:], true) }
      return (state.readers, state.waiting)
    }
    for reader in readers { reader.continuation.resume(returning: nil) }
    for channel in waiting { channel.reset(.refused, "it is leaving") }
  }
}

import P2PFSMeeting
import P2PFSCore
import P2PFSSession
import Synchronization

/// Tells a user on a terminal who waits to meet another computer what is being tried: after `Limits.Session.notice`
/// seconds, and at each later change. From any thread.
final class Patience: Sendable {
  private struct State {
    var stage: MeetingStage?
    /// The time has come to speak.
    var isDue = false
    var isOver = false
  }

  private let state = Mutex(State())
  private let say: @Sendable (String) -> Void

  /// Starts the time, if somebody looks on. `say` shows a line.
  init(isShown: Bool, say: @escaping @Sendable (String) -> Void) {
    self.say = say
    guard isShown else { return }
    Task { [weak self] in
      try? await Task.sleep(for: .seconds(Limits.Session.notice))
      self?.becomeDue()
    }
  }

  private func becomeDue() {
    let stage = state.withLock { state -> MeetingStage? in
      guard !state.isOver else { return nil }
      state.isDue = true
      return state.stage
    }
    if let stage { say("Still trying: \(Console.escaped("\(stage)")).") }
  }

  /// A further stage has begun.
  func began(_ stage: MeetingStage) {
    let isToBeSaid = state.withLock { state in
      guard !state.isOver, state.stage != stage else { return false }
      state.stage = stage
      return state.isDue
    }
    if isToBeSaid { say("Still trying: \(Console.escaped("\(stage)")).") }
  }

  /// They have met, or will not.
  func end() { state.withLock { $0.isOver = true } }
}

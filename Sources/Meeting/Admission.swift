package import P2PFSPairing
import P2PFSSession
import Synchronization

/// The wrong guesses at one code, wherever it is used: however often its room is made again, and in how many ways, there
/// are `Limits.Pairing.attempts` of them.
package final class GuessCounter: Sendable {
  private let limit: Mutex<AttemptLimit>

  package init(_ limit: AttemptLimit = AttemptLimit()) { self.limit = Mutex(limit) }

  /// Whether the code must not be used any more.
  var isSpent: Bool { limit.withLock { $0.isSpent } }

  /// See `AdmissionPolicy.judge`. `count` is called with each wrong guess that was counted.
  func judge(_ verify: () -> Bool, count: (AttemptLimit) -> Void) -> Int? {
    limit.withLock { limit in
      guard !limit.isSpent else { return 0 }
      guard !verify() else { return nil }
      limit.countWrong()
      count(limit)
      return limit.left
    }
  }
}

/// The door of the room whose number is in the code: guesses are counted here.
final class CodeAdmission: AdmissionPolicy {
  private weak let host: HostedRoom?
  private let code: Code
  private let guesses: GuessCounter

  init(_ host: HostedRoom, code: Code, guesses: GuessCounter) {
    self.host = host
    self.code = code
    self.guesses = guesses
  }

  func judge(_ verify: () -> Bool) -> Int? {
    guesses.judge(verify) { counted in Task { [weak host, code] in await host?.wrongCode(counted, of: code) } }
  }

  func refusal() async -> String? { await host?.refusal() }

  func admit(_ met: MeetingResult) async { await host?.admit(met) }
}

/// The door of a room that only a guest who was here before can know: there is nothing to guess.
final class ResumptionAdmission: AdmissionPolicy {
  private weak let host: HostedRoom?

  init(_ host: HostedRoom) { self.host = host }

  func judge(_ verify: () -> Bool) -> Int? { verify() ? nil : 0 }
  func refusal() async -> String? { nil }
  func admit(_ met: MeetingResult) async { await host?.admit(met) }
}

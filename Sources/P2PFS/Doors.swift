package import Pairing
import Session
import Synchronization

/// The wrong guesses at one code, wherever it is used: however often its room is made again, and in how many ways, there
/// are `Limits.Pairing.attempts` of them.
package final class GuessCounter: Sendable {
  private let limit: Mutex<AttemptLimit>

  package init(_ limit: AttemptLimit = AttemptLimit()) { self.limit = Mutex(limit) }

  /// Whether the code must not be used any more.
  var isSpent: Bool { limit.withLock { $0.isSpent } }

  /// See `Doorkeeper.judge`. `count` is called with each wrong guess that was counted.
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
final class CodeDoor: Doorkeeper {
  private weak let host: HostPeer?
  private let code: Code
  private let guesses: GuessCounter

  init(_ host: HostPeer, code: Code, guesses: GuessCounter) {
    self.host = host
    self.code = code
    self.guesses = guesses
  }

  func judge(_ verify: () -> Bool) -> Int? {
    guesses.judge(verify) { counted in Task { [weak host, code] in await host?.wrongCode(counted, of: code) } }
  }

  func refusal() async -> String? { await host?.refusal() }

  func admit(_ met: Met) async { await host?.admit(met) }
}

/// The door of a room that only a guest who was here before can know: there is nothing to guess.
final class KnownGuestDoor: Doorkeeper {
  private weak let host: HostPeer?

  init(_ host: HostPeer) { self.host = host }

  func judge(_ verify: () -> Bool) -> Int? { verify() ? nil : 0 }
  func refusal() async -> String? { nil }
  func admit(_ met: Met) async { await host?.admit(met) }
}

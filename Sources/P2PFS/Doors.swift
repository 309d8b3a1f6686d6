import Pairing
import Session
import Synchronization

/// The door of the room whose number is in the code: guesses are counted here.
final class CodeDoor: Doorkeeper {
  private weak let host: HostPeer?
  private let code: Code
  private let attempts: Mutex<AttemptLimit>

  init(_ host: HostPeer, code: Code, attempts: AttemptLimit) {
    self.host = host
    self.code = code
    self.attempts = Mutex(attempts)
  }

  func judge(_ verify: () -> Bool) -> Int? {
    let wrong = attempts.withLock { attempts -> AttemptLimit? in
      guard !attempts.isSpent else { return attempts }
      guard !verify() else { return nil }
      _ = attempts.countWrong()
      let counted = attempts
      Task { [weak host, code] in await host?.wrongCode(counted, of: code) }
      return counted
    }
    return wrong?.left
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

import P2PFSCore
package import P2PFSPairing
package import P2PFSSignaling
import Synchronization

/// What the side of a transfer that shows a code remembers: so that the same command, started again after whatever ended it,
/// shows the same code, and the other side's command still fits.
///
/// It lies in the state directory for `Limits.Transfer.remembered` seconds after the last start. One process at a time has
/// it. From any thread.
package final class SavedTask: Sendable {
  private let path: String
  private let claim: StateDirectory.Claim
  private let saved: Mutex<SavedExport?>
  /// What lets this side take its room again from a process of it that was killed.
  package let token: RoomToken
  /// The code of last time; nil if there is none that may still be used.
  package let code: Code?
  /// Wrong guesses at `code` that are left.
  package let attemptsLeft: Int?
  /// The port that this side's own signaling server had last time.
  package let port: UInt16?

  /// The memory of the task that `key` names: what is done, to which files, and where the two meet. nil if another process
  /// does the same now, or nothing can be kept.
  package convenience init?(_ key: String) {
    StateDirectory.forgetOld("transfers", after: Limits.Transfer.remembered)
    guard let path = SavedExport.path("transfers", for: key) else { return nil }
    self.init(at: path)
  }

  init?(at path: String) {
    guard let claim = StateDirectory.claim(path) else { return nil }
    self.path = path
    self.claim = claim
    let isFresh = StateDirectory.age(path).map { abs($0) < Limits.Transfer.remembered } ?? false
    let known = isFresh ? StateDirectory.read(path).flatMap(SavedExport.init(parsing:)) : nil
    let left = known.map { AttemptLimit().left - $0.wrongAttempts }
    let isUsable = left.map { $0 > 0 } ?? false
    code = isUsable ? known.flatMap { try? Code(parsing: $0.code) } : nil
    attemptsLeft = code == nil ? nil : left
    port = known?.port.flatMap(UInt16.init(exactly:))
    token = (code == nil ? nil : known.flatMap { RoomToken(bytes: $0.token) }) ?? RoomToken.random()
    saved = Mutex(code == nil ? nil : known)
  }

  /// The other side can come with this code. `port`: of this side's own signaling server.
  package func note(_ code: Code, port: UInt16?) {
    saved.withLock { saved in
      if saved?.code != code.text { saved = SavedExport(code: code.text, token: token.bytes) }
      saved?.port = port.map(Int.init)
      if let text = saved?.text { try? StateDirectory.write(text, to: path) }
    }
  }

  /// So many wrong guesses at the code are left.
  package func note(attemptsLeft left: Int) {
    saved.withLock { saved in
      saved?.wrongAttempts = AttemptLimit().left - left
      if let text = saved?.text { try? StateDirectory.write(text, to: path) }
    }
  }

  /// The task is done, or given up: the code is not used again.
  package func forget() {
    saved.withLock { $0 = nil }
    StateDirectory.forget(path)
  }
}

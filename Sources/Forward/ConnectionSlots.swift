/// Counts the connections of one session in one direction, and lets listeners wait for room. The loop's.
final class ConnectionSlots {
  private let limit: Int
  private var used = 0
  private var waiting: [() -> Void] = []

  init(_ limit: Int) { self.limit = limit }

  var isFree: Bool { used < limit }

  /// Takes a place. Listeners that accept at the same moment may take one more each.
  func take() { used += 1 }

  func release() {
    used -= 1
    guard isFree else { return }
    let waiting = waiting
    self.waiting = []
    for body in waiting { body() }
  }

  /// Calls `body` when a place may be free.
  func whenFree(_ body: @escaping () -> Void) { waiting.append(body) }
}

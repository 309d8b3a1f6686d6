import Logging

/// Counts the connections of one session in one direction, and has listeners wait while there are too many. Used on the
/// loop only.
final class ConnectionSlots {
  let log: Logger
  /// Called when listeners start to wait, after there was plenty of room.
  var onFull: () -> Void = {}
  private let limit: Int
  private(set) var used = 0
  private var waiting: [() -> Void] = []
  private var isFullTold = false

  init(_ limit: Int, _ log: Logger) {
    self.limit = limit
    self.log = log
  }

  var isFree: Bool { used < limit }

  /// Takes a place. Listeners that accept at the same moment may take one more each.
  func take() { used += 1 }

  func release() {
    used -= 1
    // Do not report every place that is free for a moment.
    if used <= limit / 2 { isFullTold = false }
    guard isFree else { return }
    let waiting = waiting
    self.waiting = []
    for body in waiting { body() }
  }

  /// Calls `body` when a place may be free.
  func whenFree(_ body: @escaping () -> Void) {
    waiting.append(body)
    guard !isFullTold else { return }
    isFullTold = true
    log.info("\(used) connections are open: further ones wait")
    onFull()
  }
}

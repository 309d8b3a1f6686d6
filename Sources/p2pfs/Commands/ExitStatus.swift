/// The exit statuses of p2pfs(1).
enum ExitStatus: Int32 {
  case done = 0
  case failed = 1
  case usage = 2
  /// The signaling server cannot be reached.
  case noSignaling = 3
  /// Nobody is in the room.
  case noPeer = 4
  /// The code or the identity was refused.
  case refused = 5
  /// No path through the NATs.
  case noPath = 6
  case notMounted = 7
  case interrupted = 130
}

/// A failure as the user sees it: what failed, why, and what to do next.
struct Failure: Error {
  /// How the process ends.
  let status: ExitStatus
  /// One sentence or several, without the program's name before it.
  let message: String

  /// The status to exit with: of an interruption 128 and the signal, as of a program that the signal had ended.
  var exitCode: Int32 { status == .interrupted ? 128 + Signals.ending : status.rawValue }

  init(_ status: ExitStatus, _ message: String) {
    self.status = status
    self.message = message
  }
}

import P2PFSCore
import Glibc
import P2PFSMeeting
import Synchronization
import P2PFSTransfer

/// Shows on a terminal how far a transfer is, on one line of standard error that is written again and again.
final class Progress: Sendable {
  let transfer = TransferProgress()
  private let isShown: Bool
  private let drawing = Mutex(Drawing())

  private struct Drawing {
    var width = 0
    var isOver = false
    var last = Instant.now
    var moved: Int64 = 0
    /// Bytes a second, smoothed over about three seconds.
    var rate = 0.0
  }

  /// Shows nothing if standard error is no terminal, or `isQuiet`.
  init(isQuiet: Bool) {
    isShown = !isQuiet && Console.isTerminal
    guard isShown else { return }
    Worker.detached("progress") { [weak self] in
      while true {
        usleep(100_000)
        guard let self, draw() else { return }
      }
    }
  }

  /// Prints a line above the progress.
  func say(_ line: String) {
    drawing.withLock { drawing in
      clear(&drawing)
      Console.say(line)
    }
  }

  /// Takes the line away for good.
  func end() {
    drawing.withLock { drawing in
      clear(&drawing)
      drawing.isOver = true
    }
  }

  /// Says `line` if the receiver's user is still being asked after `Limits.Session.notice`. Returns when it was said, and
  /// when the task is cancelled.
  func whileAsking(_ line: String, _ common: CommonOptions) async {
    var since: Instant?
    while !Task.isCancelled {
      try? await Task.sleep(for: .milliseconds(200))
      since = transfer.isAsking ? since ?? .now : nil
      if !Task.isCancelled, let since, Instant.now.seconds(since: since) >= Limits.Session.notice {
        return common.say(line)
      }
    }
  }

  /// Says `line` if what is sent is still being counted after `Limits.Transfer.counting`. Returns when it was said, and
  /// when the task is cancelled.
  func whileCounting(_ line: String, _ common: CommonOptions) async {
    while !Task.isCancelled {
      try? await Task.sleep(for: .seconds(Limits.Transfer.counting))
      if !Task.isCancelled, transfer.isCounting { return common.say(line) }
    }
  }

  private func clear(_ drawing: inout Drawing) {
    guard drawing.width > 0 else { return }
    drawing.width = 0
    Console.draw("")
  }

  /// Returns false once it is over.
  private func draw() -> Bool {
    drawing.withLock { drawing in
      guard !drawing.isOver else { return false }
      guard let total = transfer.total else {
        // The rate does not count what was waited for.
        drawing.last = .now
        return true
      }
      let (now, moved) = (Instant.now, transfer.moved)
      let seconds = max(now.seconds(since: drawing.last), 0.001)
      let rate = Double(moved - drawing.moved) / seconds
      let weight = min(seconds / 3, 1)
      drawing.rate = drawing.moved == 0 ? rate : drawing.rate * (1 - weight) + rate * weight
      (drawing.last, drawing.moved) = (now, moved)
      var size = winsize()
      let columns = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
      let line = Progress.line(
        done: transfer.done, total: total.bytes, rate: drawing.rate, doing: Progress.doing(transfer.current),
        columns: columns)
      drawing.width = Columns.of(line)
      Console.draw(line)
      return true
    }
  }

  private static func doing(_ current: (TransferProgress.Activity, path: [UInt8])) -> String {
    switch current.0 {
    case .moving: name(current.path)
    case .checking: "checking " + name(current.path)
    case .writing: "writing to disk"
    }
  }

  /// The line: bytes of the whole, percent, rate, time left, and what is done to which file as far as it fits.
  static func line(done: Int64, total: Int64, rate: Double, doing: String, columns: Int) -> String {
    let percent = total > 0 ? Int(Double(min(done, total)) / Double(total) * 100) : 100
    var line = "\(bytes(done)) of \(bytes(total))  \(percent)%"
    if rate >= 1 {
      line += "  \(bytes(Int64(rate)))/s  \(duration(Double(max(total - done, 0)) / rate)) left"
    }
    // One column stays free: writing into the last one would begin a new line.
    let room = columns - 1 - line.count - 2
    if room >= 8 { line += "  " + (Columns.of(doing) <= room ? doing : Columns.prefix(doing, room - 1) + "…") }
    return Columns.prefix(line, max(columns - 1, 1))
  }

  /// What is said at the end, as in "3 files, 1.2 GB in 61 s (20 MB/s)".
  func summary(files: UInt64, bytes: Int64) -> String {
    let seconds = max(transfer.total.map { Instant.now.seconds(since: $0.since) } ?? 0, 0.001)
    let moved = transfer.moved
    var text = "\(files) \(files == 1 ? "file" : "files"), \(Progress.bytes(bytes))"
    text += " in \(Progress.duration(seconds)) (\(Progress.bytes(Int64(Double(moved) / seconds)))/s)"
    if moved < bytes { text += ", \(Progress.bytes(bytes - moved)) of it there before" }
    return text
  }

  /// A path of either side, safe for a terminal.
  static func name(_ path: [UInt8]) -> String { String(pathBytes: path).escapedName }

  /// A name of either side between quotes, safe for a terminal and not to be taken for two.
  static func quoted(_ name: [UInt8]) -> String {
    let parts = self.name(name).split(separator: "\"", omittingEmptySubsequences: false)
    return "\"" + parts.joined(separator: "\\\"") + "\""
  }

  /// As in "1.2 GB": units of 1000.
  static func bytes(_ count: Int64) -> String {
    guard count >= 1000 else { return "\(count) B" }
    var value = Double(count)
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
      value /= 1000
      if value < 999.5 || unit == "PB" {
        guard value < 9.95 else { return "\(Int(value.rounded())) \(unit)" }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(unit)"
      }
    }
    return "\(count) B"
  }

  /// As in "0.4 s", "61 s", "12 min", "3 h 20 min".
  static func duration(_ seconds: Double) -> String {
    if seconds < 9.95 {
      let tenths = Int((seconds * 10).rounded())
      return "\(tenths / 10).\(tenths % 10) s"
    }
    guard seconds < 360_000_000 else { return "years" }
    let whole = Int(seconds.rounded())
    if whole < 120 { return "\(whole) s" }
    if whole < 7200 { return "\(whole / 60) min" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}

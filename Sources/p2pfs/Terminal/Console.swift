import P2PFSCore
import Glibc
import P2PFSMeeting
import Synchronization

/// A number and its noun, as in "1 file" and "2 files".
func counted(_ number: some BinaryInteger, _ one: String, _ many: String) -> String {
  "\(number) \(number == 1 ? one : many)"
}

/// What the user reads. Messages go to standard error; only data goes to standard output.
enum Console {
  /// Whether standard error is a terminal, so that progress makes sense.
  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Prints a line on standard error.
  static func say(_ line: String) {
    let clearing = hasProgress.exchange(false, ordering: .relaxed) ? "\r\u{1b}[K" : ""
    write(clearing + line + "\n", to: STDERR_FILENO)
  }

  /// Whether the last line on standard error is progress, which the next message takes the place of.
  private static let hasProgress = Atomic<Bool>(false)

  /// Shows progress on standard error, a terminal, in place of what it was before; an empty one takes it away.
  static func draw(_ progress: String) {
    hasProgress.store(!progress.isEmpty, ordering: .relaxed)
    write("\r\(progress)\u{1b}[K", to: STDERR_FILENO)
  }

  /// Prints a line on standard output.
  static func print(_ line: String) {
    write(line + "\n", to: STDOUT_FILENO)
  }

  /// Prints `p2pfs: ` and the failure, and gives the status to exit with.
  static func report(_ failure: Failure) -> Int32 {
    say("p2pfs: " + failure.message)
    return failure.exitCode
  }

  /// Asks for a line on the terminal, without showing what is typed if `isSecret`; nil if there is no terminal.
  /// - Parameter isWanted: asked ten times a second; when it says no, the answer is empty.
  static func ask(
    _ question: String, isSecret: Bool, while isWanted: () -> Bool = { true }
  ) throws(Failure) -> String? {
    let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard terminal >= 0 else { return nil }
    defer { close(terminal) }
    // What was typed before is no answer to what was not asked yet.
    tcflush(terminal, TCIFLUSH)
    write(question, to: terminal)
    var settings = termios()
    let hasSettings = isSecret && tcgetattr(terminal, &settings) == 0
    if hasSettings {
      var quiet = settings
      quiet.c_lflag &= ~tcflag_t(ECHO)
      tcsetattr(terminal, TCSAFLUSH, &quiet)
    }
    defer {
      if hasSettings {
        tcsetattr(terminal, TCSAFLUSH, &settings)
        write("\n", to: terminal)
      }
    }
    var line: [UInt8] = []
    var byte: UInt8 = 0
    var ready = pollfd(fd: terminal, events: Int16(POLLIN), revents: 0)
    while line.count < 4096 {
      // The signals that end the program are caught, and the terminal is to be left as it was.
      if poll(&ready, 1, 100) <= 0 {
        if Signals.isPending || Signals.received != 0 { throw Failure(.interrupted, "interrupted") }
        guard isWanted() else { return "" }
        continue
      }
      guard read(terminal, &byte, 1) == 1, byte != UInt8(ascii: "\n") else { break }
      line.append(byte)
    }
    return String(pathBytes: line)
  }

  /// What a peer or a server named, made safe for a terminal: control characters are shown escaped.
  static func escaped(_ text: String) -> String { text.escaped }

  /// As `escaped`, with a full stop at the end if there is none.
  static func sentence(_ text: String) -> String { escaped(text) + (text.hasSuffix(".") ? "" : ".") }

  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.showingBytes.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { return }
      bytes = bytes.dropFirst(written)
    }
  }
}

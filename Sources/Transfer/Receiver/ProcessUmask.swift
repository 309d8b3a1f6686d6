import Glibc

/// The umask of the process.
enum ProcessUmask {
  /// Read from /proc: umask(2) can only be read by changing it, for all threads.
  static var ofProcess: UInt32 {
    guard let file = fopen("/proc/self/status", "re") else { return fallback }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    while getline(&line, &capacity, file) > 0, let text = line.map({ String(cString: $0) }) {
      guard text.hasPrefix("Umask:"), let digits = text.split(whereSeparator: \.isWhitespace).last else { continue }
      return UInt32(digits, radix: 8) ?? fallback
    }
    return fallback
  }

  /// The usual umask, for systems that hide /proc.
  private static let fallback: UInt32 = 0o022
}

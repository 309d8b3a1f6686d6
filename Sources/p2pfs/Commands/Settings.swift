import ArgumentParser
import P2PFSCore
import Glibc
import Logging
import P2PFSSignaling

/// What all commands that do something take.
struct CommonOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Say more about what happens.")
  var verbose = false

  @Flag(name: .shortAndLong, help: "Say only what went wrong.")
  var quiet = false

  /// Sends what the layers log to standard error, as much of it as was asked for.
  func startLogging() {
    let level: Logger.Level = verbose ? .debug : .error
    LoggingSystem.bootstrap { EscapingLogHandler($0, level) }
  }

  /// Tells the user, unless that was not wanted.
  func say(_ line: String) {
    if !quiet { Console.say(line) }
  }
}

/// Where a setting comes from when it is not on the command line.
enum Settings {
  /// An environment variable that is set and not empty.
  static func environment(_ name: String) -> String? {
    guard let value = getenv(name).map({ String(path: $0) }), !value.isEmpty else { return nil }
    return value
  }

  /// The signaling server: the flag wins over the code's own `@SERVER`, that over `P2PFS_SIGNAL`.
  static func server(flag: String?, code: ServerAddress?) throws(Failure) -> ServerAddress? {
    if let flag { return try parse(flag, from: "--signal") }
    if let code { return code }
    if let variable = environment("P2PFS_SIGNAL") { return try parse(variable, from: "P2PFS_SIGNAL") }
    return nil
  }

  private static func parse(_ text: String, from source: String) throws(Failure) -> ServerAddress {
    do { return try ServerAddress(parsing: text) } catch { throw Failure(.usage, "\(source): \(error)") }
  }
}

/// Writes what the layers log to standard error, with what a peer may have named made safe for a terminal.
private struct EscapingLogHandler: LogHandler {
  let label: String
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  init(_ label: String, _ level: Logger.Level) {
    self.label = label
    logLevel = level
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    Console.say(Console.escaped("\(event.level) \(label): \(event.message)"))
  }
}

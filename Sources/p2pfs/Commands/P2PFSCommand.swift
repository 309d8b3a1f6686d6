import ArgumentParser
import Glibc
import P2PFSPairing

/// The command line of p2pfs(1).
@main
struct P2PFSCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "p2pfs",
    abstract: "Mount a folder of a computer that sits behind another NAT.",
    version: "p2pfs 0.1.0",
    subcommands: [
      ExportCommand.self, MountCommand.self, UmountCommand.self, PipeCommand.self, SendCommand.self,
      ReceiveCommand.self, ForwardCommand.self, SignalCommand.self, CompletionsCommand.self,
    ])

  /// The names of all commands.
  static var commands: [String] {
    configuration.subcommands.flatMap { [$0.configuration.commandName ?? ""] + $0.configuration.aliases } + ["help"]
  }

  /// Fails if the first argument is a command that does not exist.
  static func expectCommand(_ word: String?) throws(Failure) {
    guard let word, !word.hasPrefix("-"), !commands.contains(word) else { return }
    let shown = Console.escaped(CodeMask.masked(word))
    let meant = Habits.command(like: word, among: commands).map { " Did you mean \"p2pfs \($0)\"?" } ?? ""
    throw Failure(.usage, "there is no command \"\(shown)\".\(meant) See \"p2pfs --help\".")
  }

  /// The message about an option that does not exist, with what to do instead behind its first line; nil if nothing is
  /// known of that.
  static func hint(_ message: String, _ command: String?) -> String? {
    let start = "Error: Unknown option '"
    guard let command, message.hasPrefix(start), let lineEnd = message.firstIndex(of: "\n") else { return nil }
    let option = message.dropFirst(start.count).prefix { $0 != "'" && $0 != "=" }
    guard let hint = Habits.hint(forOption: String(option), of: command) else { return nil }
    // ArgumentParser's own suggestion is by the look of the letters.
    return "\(start)\(option)'. \(hint)" + message[lineEnd...]
  }

  static func main() async {
    let arguments = Arguments.process
    StandardStreams.fillGaps()
    Signals.catchEnding()
    do {
      try expectCommand(arguments.given.first)
      var command = try parseAsRoot(arguments.given)
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch let failure as Failure {
      Glibc.exit(Console.report(failure))
    } catch {
      // What ArgumentParser has to say: help and version on standard output, a wrong command line on standard error.
      let isWrong = exitCode(for: error) != .success
      var message = CodeMask.masked(fullMessage(for: error))
      if isWrong, let hint = hint(message, arguments.given.first) { message = hint }
      if isWrong { Console.say(message) } else { Console.print(message) }
      Glibc.exit(isWrong ? ExitStatus.usage.rawValue : ExitStatus.done.rawValue)
    }
  }
}

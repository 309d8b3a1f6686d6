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

  static func main() async {
    let arguments = Arguments.process
    StandardStreams.fillGaps()
    Signals.catchEnding()
    do {
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
      let message = CodeMask.masked(fullMessage(for: error))
      if isWrong { Console.say(message) } else { Console.print(message) }
      Glibc.exit(isWrong ? ExitStatus.usage.rawValue : ExitStatus.done.rawValue)
    }
  }
}

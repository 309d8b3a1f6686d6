import ArgumentParser
import P2PFSCore
import Glibc

/// `p2pfs completions`.
struct CompletionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completions",
    abstract: "Let the shell complete commands, options and arguments.",
    discussion: """
      Prints the script that does it, or puts it where the shell looks for such scripts by itself: for root where all \
      users have it. Without a name, for the shell that SHELL names.
      """)

  @Argument(help: "The shell.")
  var shell: CompletedShell?

  @Flag(help: "Put the script where the shell finds it, instead of printing it.")
  var install = false

  func run() throws {
    Signals.release()
    let shell = try shell ?? CompletionsCommand.usersShell()
    let script = P2PFSCommand.completionScript(for: shell.generator)
    guard install else {
      Console.print(script)
      return
    }
    let place = try CompletionPlace(shell, isForAll: geteuid() == 0)
    try place.write(script + "\n")
    Console.say("Wrote \(Console.escaped(place.path)).")
    Console.say(place.next)
  }

  /// The shell that SHELL names.
  private static func usersShell() throws(Failure) -> CompletedShell {
    let name = Settings.environment("SHELL")?.split(separator: "/").last.map(String.init)
    if let shell = name.flatMap(CompletedShell.init(rawValue:)) { return shell }
    let why = name.map { "\(Console.escaped($0)) is none that p2pfs knows" } ?? "SHELL is not set"
    throw Failure(.usage, "for which shell? \(why); name it: p2pfs completions bash, zsh or fish")
  }
}

/// A shell that can complete the arguments of p2pfs.
enum CompletedShell: String, CaseIterable, ExpressibleByArgument {
  case bash, zsh, fish

  var generator: CompletionShell {
    switch self {
    case .bash: .bash
    case .zsh: .zsh
    case .fish: .fish
    }
  }
}

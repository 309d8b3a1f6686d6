import ArgumentParser

/// The command line of p2pfs(1).
@main
struct P2PFSCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "p2pfs",
    abstract: "Mount a folder of a computer that sits behind another NAT.",
    version: "p2pfs 0.1.0",
    subcommands: [Umount.self])
}

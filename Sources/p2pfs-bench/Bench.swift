import ArgumentParser

/// Measures the layers of p2pfs.
@main
struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "p2pfs-bench", abstract: "Measure p2pfs.", subcommands: [TransportBench.self])
}

import Dispatch
@preconcurrency import Glibc
import P2PFS

/// Sends back every message that comes in on a channel named "echo", to any number of guests, until Ctrl-C.
///
///     echo-server [SERVER]
///
/// Without a signaling server it starts one of its own, enough for two computers in one network.
@main
struct EchoServer {
  static func main() async {
    setvbuf(stdout, nil, _IOLBF, 0)
    var options = Peer.Options()
    options.server = CommandLine.arguments.dropFirst().first
    do {
      let host = try await Host.start(options: options)
      print("On the other computer:\n\n    echo-client \(host.code) [TEXT]...\n")

      // Closing the host ends the loop below.
      let interrupt = DispatchSource.makeSignalSource(signal: SIGINT, queue: .main)
      interrupt.setEventHandler { Task { await host.close(within: .seconds(1)) } }
      interrupt.activate()
      defer { interrupt.cancel() }

      for await peer in host.peers {
        print("A guest has come.")
        peer.onChannel("echo") { channel in
          for try await message in channel { try await channel.send(message) }
        }
      }
    } catch {
      fputs("echo-server: \(error)\n", stderr)
      exit(1)
    }
  }
}

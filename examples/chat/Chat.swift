import Dispatch
@preconcurrency import Glibc
import P2PFS

/// Lines from one computer to the other, in both directions, until either side ends its input.
///
///     chat [@SERVER]     waits, and shows a code
///     chat CODE          comes
@main
struct Chat {
  static func main() async {
    setvbuf(stdout, nil, _IOLBF, 0)
    do {
      let (channel, host) = try await meet(CommandLine.arguments.dropFirst().first ?? "")
      let peer = channel.peer
      print("Connected\(peer.isRelayed == true ? " through a relay" : ""). Ctrl-D ends it.")

      // Closing the peer ends the channel, and with it the loop below.
      let interrupt = DispatchSource.makeSignalSource(signal: SIGINT, queue: .main)
      interrupt.setEventHandler { Task { await peer.close(within: .seconds(1)) } }
      interrupt.activate()
      defer { interrupt.cancel() }

      Task {
        while let line = await nextLine() {
          // If the channel is over the loop below says so.
          do { try await channel.send(line.utf8) } catch let error as PeerError where error.code == .tooLarge {
            print("Not sent: \(error)")
          }
        }
        channel.finish()
      }
      for try await line in channel { print("> \(harmless(line))") }
      try await channel.close()
      await peer.close()
      await host?.close()
    } catch let error as PeerError where error.code == .closed {
      print("Bye.")
    } catch {
      fputs("chat: \(error)\n", stderr)
      exit(1)
    }
  }

  /// Who waits takes the first channel that a guest opens, and holds on to the host as long as they talk. Guests that open
  /// none do not matter.
  private static func meet(_ code: String) async throws -> (Channel, Host?) {
    guard code.isEmpty || code.hasPrefix("@") else { return (try await Peer.connect(to: code).open("chat"), nil) }
    var options = Peer.Options()
    if !code.isEmpty { options.server = String(code.dropFirst()) }
    let host = try await Host.start(options: options)
    print("On the other computer:\n\n    chat \(host.code)\n")
    let (calls, feed) = AsyncStream.makeStream(of: IncomingChannel.self)
    host.onPeer { peer in
      for await incoming in peer.channels where incoming.name == "chat" { feed.yield(incoming) }
    }
    for await incoming in calls { return (try incoming.accept(), host) }
    throw CancellationError()
  }

  /// The next line of standard input; nil at its end. Reading blocks, so a task must not do it.
  private static func nextLine() async -> String? {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(returning: readLine()) }
    }
  }

  /// What the other side says, without the control characters that would let it play with the terminal.
  private static func harmless(_ line: Bytes) -> String {
    let scalars = String(decoding: line, as: UTF8.self).unicodeScalars.map { scalar in
      [.control, .format].contains(scalar.properties.generalCategory) ? "\u{FFFD}" : scalar
    }
    return String(String.UnicodeScalarView(scalars))
  }
}

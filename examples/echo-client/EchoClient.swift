import Dispatch
@preconcurrency import Glibc
import P2PFS

/// Sends messages to echo-server, and prints each answer and how long it took.
///
///     echo-client CODE [TEXT]...
///
/// Without a text it sends the lines of standard input.
@main
struct EchoClient {
  static func main() async {
    setvbuf(stdout, nil, _IOLBF, 0)
    var texts = CommandLine.arguments.dropFirst()
    guard let code = texts.popFirst() else {
      fputs("usage: echo-client CODE [TEXT]...\n", stderr)
      exit(2)
    }
    do {
      let peer = try await Peer.connect(to: code)
      let interrupt = DispatchSource.makeSignalSource(signal: SIGINT, queue: .main)
      interrupt.setEventHandler {
        Task {
          await peer.close(within: .seconds(1))
          exit(130)
        }
      }
      interrupt.activate()
      defer { interrupt.cancel() }

      let channel = try await peer.open("echo")
      var answers = channel.makeAsyncIterator()
      let isInteractive = texts.isEmpty
      while let text = isInteractive ? await nextLine() : texts.popFirst() {
        let start = ContinuousClock.now
        try await channel.send(text.utf8)
        guard let answer = try await answers.next() else { break }
        let time = start.duration(to: .now)
        print("\(answer.elementsEqual(text.utf8) ? text : "something else") after \(time / .milliseconds(1)) ms")
      }
      try await channel.close()
      await peer.close()
    } catch  where error.code == .closed {
      exit(130)
    } catch {
      fputs("echo-client: \(error)\n", stderr)
      exit(1)
    }
  }

  /// The next line of standard input; nil at its end. Reading blocks, so a task must not do it.
  private static func nextLine() async -> String? {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(returning: readLine()) }
    }
  }
}

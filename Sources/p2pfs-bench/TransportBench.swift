import ArgumentParser
import P2PFSCore
import Glibc
import Synchronization
import P2PFSTransport

/// Speed of one data channel between two processes, over real ICE, DTLS and SCTP.
struct TransportBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "transport",
    abstract: "Measure a data channel between two processes.",
    discussion: """
      Start `transport receive` first, then `transport send`, on this machine (each in a network namespace of its own, \
      if wanted). They exchange their session descriptions through a Unix socket.
      """)

  enum Role: String, ExpressibleByArgument, CaseIterable { case send, receive }

  @Argument(help: "What this side does.") var role: Role
  @Option(help: "Path of the Unix socket for the session descriptions.") var socket = "/tmp/p2pfs-bench.socket"
  @Option(name: .customLong("server"), help: "A STUN or TURN server's URI; may be given several times.")
  var servers: [String] = []
  @Option(help: "User name at the TURN servers.") var username: String?
  @Option(help: "Credential at the TURN servers.") var credential: String?
  @Flag(help: "Use relays only.") var relayOnly = false
  @Flag(help: "Use 127.0.0.1 too.") var loopback = false
  @Option(help: "Seconds to send for.") var seconds = 10.0
  @Option(help: "Bytes of a message.") var size = 65_535
  @Flag(help: "Stay connected without sending.") var idle = false

  func run() async throws {
    let signaling = try SignalingSocket(path: socket, listens: role == .receive)
    let started = Instant.now
    let configuration = ICEConfiguration(
      servers: servers.compactMap { ICEServer(uri: $0, username: username, credential: credential) },
      relayOnly: relayOnly, includesLoopback: loopback)
    let peer = PeerConnection(role: role == .send ? .offerer : .answerer, configuration: configuration)
    if role == .send { signaling.send("description", try await peer.localDescription().text) }
    let (messages, continuation) = AsyncStream.makeStream(of: (kind: String, text: String).self)
    signaling.receive { continuation.yield(($0, $1)) }
    let exchange = Task {
      for await (kind, text) in messages {
        switch kind {
        case "description":
          try await peer.setRemote(SessionDescription(parsing: text))
          if role == .receive { signaling.send("description", try await peer.localDescription().text) }
          Task {
            for await candidate in peer.localCandidates { signaling.send("candidate", candidate.description) }
            signaling.send("end", "")
          }
        case "candidate": if let candidate = try Candidate.parse(text) { await peer.add(candidate) }
        case "end": await peer.endOfCandidates()
        default: break
        }
      }
    }
    try await peer.connected()
    print(
      "connected after \(Instant.now.seconds(since: started).rounded(to: 4)) s: "
        + "\(await peer.path?.description ?? "no path"), datagrams of \(await peer.path?.payload ?? 0) bytes")
    Task { print("ended: \(await peer.ended())") }
    switch role {
    case .send: try await sendAll(peer)
    case .receive: try await receiveAll(peer)
    }
    exchange.cancel()
    await peer.close()
  }

  private func sendAll(_ peer: PeerConnection) async throws {
    let channel = try await peer.openChannel(label: "bench")
    let counters = Counters()
    if !idle {
      let room = 1_048_576
      let size = size
      // Refills when half of the queue has left, as a writer under back-pressure does.
      let refill: @Sendable () -> Void = {
        while !counters.done.load(ordering: .relaxed), channel.queuedBytes < room {
          let frame = Frame(capacity: size)
          frame.count = size
          channel.send(frame)
          counters.bytes.add(size, ordering: .relaxed)
        }
      }
      channel.attach(onMessage: { _, _ in }, drainedBelow: room / 2, onDrained: refill)
      refill()
    }
    await report(peer, counters) { counters.bytes.load(ordering: .relaxed) - channel.queuedBytes }
    counters.done.store(true, ordering: .relaxed)
  }

  private func receiveAll(_ peer: PeerConnection) async throws {
    let counters = Counters()
    let ended = Task {
      _ = await peer.ended()
      counters.done.store(true, ordering: .relaxed)
    }
    for await channel in peer.incomingChannels {
      channel.attach(onMessage: { frame, _ in counters.bytes.add(frame.count, ordering: .relaxed) })
      await report(peer, counters) { counters.bytes.load(ordering: .relaxed) }
      break
    }
    await ended.value
  }

  /// Prints a line four times a second in the first two seconds, then each second, until the time is over.
  private func report(_ peer: PeerConnection, _ counters: Counters, _ bytes: () -> Int) async {
    let started = Instant.now
    let cpuAtStart = cpuSeconds()
    var last = (time: started, bytes: bytes())
    let first = last.bytes
    while started.advanced(by: seconds) > .now, !counters.done.load(ordering: .relaxed) {
      let pause = Instant.now.seconds(since: started) < 2 ? 250_000_000 : 1_000_000_000
      try? await Task.sleep(nanoseconds: UInt64(pause))
      let now = (time: Instant.now, bytes: bytes())
      let path = await peer.path
      print(
        "\(now.time.seconds(since: started).rounded(to: 2)) s: "
          + "\((Double(now.bytes - last.bytes) / now.time.seconds(since: last.time) / 1e6).rounded(to: 1)) MB/s, "
          + "round trip \(((path?.roundTrip ?? 0) * 1e3).rounded(to: 1)) ms, "
          + "estimate \(((path?.rate ?? 0) / 1e6).rounded(to: 1)) MB/s")
      last = now
    }
    let elapsed = last.time.seconds(since: started)
    print(
      "total: \((Double(last.bytes - first) / elapsed / 1e6).rounded(to: 1)) MB/s over \(elapsed.rounded(to: 1)) s, "
        + "\(((cpuSeconds() - cpuAtStart) / elapsed * 100).rounded(to: 2)) % of a core, "
        + "\(residentBytes() / 1_000_000) MB resident at most")
  }
}

/// What the transport thread counts and the reports read.
private final class Counters: Sendable {
  let bytes = Atomic<Int>(0)
  let done = Atomic<Bool>(false)
}

/// CPU time of this process so far, in seconds.
private func cpuSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
  return seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Most memory this process ever held, in bytes.
private func residentBytes() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss * 1_024
}

extension Double {
  /// Rounded to so many decimal places.
  fileprivate func rounded(to places: Int) -> Double {
    let factor = pow(10, Double(places))
    return (self * factor).rounded() / factor
  }
}

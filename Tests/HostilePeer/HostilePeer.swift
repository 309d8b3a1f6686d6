import P2PFSCore
import Glibc
import P2PFSMeeting
import P2PFSPairing
import P2PFSSession
import Synchronization
import P2PFSWire

/// A computer that knows the code and keeps to no rule: it meets a real program and does one of the acts of `Act.kinds`
/// to it. What comes of it is for the test to see at the victim; this one says what it heard on standard output.
///
///     hostile-peer ACT CODE@SERVER
///     hostile-peer --list KIND
///
/// Exits with 0 when the act was played to its end, with 1 if the two did not meet or the victim let something through.
@main struct HostilePeer {
  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    let arguments = CommandLine.arguments
    if arguments.count == 3, arguments[1] == "--list", let acts = Act.kinds[arguments[2]] {
      for name in acts.keys.sorted() { say(name) }
      exit(0)
    }
    let act = arguments.count == 3 ? Act.kinds.values.lazy.compactMap { $0[arguments[1]] }.first : nil
    guard let act, let source = try? PeerAddress(parsing: arguments[2]),
      case .code(let code) = source.peer, let server = source.server
    else {
      say("usage: hostile-peer ACT CODE@SERVER, or --list KIND: \(Act.kinds.keys.sorted().joined(separator: " "))")
      exit(2)
    }
    do {
      switch act {
      case .guest(let play):
        let meeting = GuestMeeting(server: server, credential: Credential(code), waits: true)
        try await play(Stranger(try await meeting.meet()))
      case .program(let role, let play):
        let opened = AsyncStream.makeStream(of: SessionChannel.self)
        var rendezvous = Rendezvous(code, as: role, at: server)
        rendezvous.onChannel = { opened.continuation.yield($0) }
        let peer = try await rendezvous.meet { _ in }
        try await play(peer.session, opened.stream)
        await peer.end()
      }
      say("played")
      exit(0)
    } catch {
      say("failed: \(error)")
      exit(1)
    }
  }

  static func say(_ line: String) { print(line.escaped) }
}

/// One thing to do to a victim.
enum Act: Sendable {
  /// By hand, down to the messages of the session: with a link and nothing above it.
  case guest(@Sendable (Stranger) async throws -> Void)
  /// By the messages of a program, on channels that are kept as they should be.
  case program(Rendezvous.Role, @Sendable (Session, AsyncStream<SessionChannel>) async throws -> Void)

  /// All of them, by what they are done to.
  static let kinds = [
    "session": sessionActs, "sender": senderActs, "receiver": receiverActs, "pipe": pipeActs, "forward": forwardActs,
    "memory": memoryActs,
  ]
}

/// What went otherwise than the act expects.
struct Surprise: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// One side of a connection with no session above it: every message is made by hand.
final class Stranger: LinkReceiver {
  let link: DataChannelLink
  /// What the victim has done: yields for each message, and each channel that it has reset; ends with the connection.
  private let greeted: AsyncStream<Void>
  private let feed: AsyncStream<Void>.Continuation
  private let resets: AsyncStream<Void>
  private let resetFeed: AsyncStream<Void>.Continuation
  private let kept = Mutex<[any LinkChannel]>([])
  private let hello = Mutex<Hello?>(nil)
  private let isDeaf = Atomic<Bool>(false)

  init(_ met: MeetingResult) {
    link = met.link
    (greeted, feed) = AsyncStream.makeStream()
    (resets, resetFeed) = AsyncStream.makeStream()
    link.attach(self)
    let hello = Hello(session: met.identity, flags: [], requests: 1_024, writeCredit: 0, instance: 1, machine: 0)
    link.send(hello.encoded(), on: .control)
  }

  func received(_ frame: Frame, on lane: Lane) {
    var reader = Reader(frame)
    if let header = try? Header(&reader), header.kind == .hello, let hello = try? Hello(&reader) {
      self.hello.withLock { $0 = hello }
    }
    feed.yield()
    // This is the thread that acknowledges.
    while isDeaf.load(ordering: .relaxed) { usleep(10_000) }
  }

  /// Bytes of writes that the victim has granted.
  var writeCredit: Int { hello.withLock { Int($0?.writeCredit ?? 0) } }

  /// Takes nothing any more, and acknowledges nothing, as long as the victim bears it.
  func fallDeaf() async {
    isDeaf.store(true, ordering: .relaxed)
    try? await Task.sleep(for: .seconds(Limits.Session.vanished))
  }
  func drained() {}
  func opened(_ channel: any LinkChannel) {
    channel.attach(onMessage: { _ in }, onClose: { _ in })
    kept.withLock { $0.append(channel) }
  }
  func lost() {
    resetFeed.finish()
    feed.finish()
  }

  /// Waits until the victim has said something.
  func hear() async { await greeted.first { _ in true } }

  /// Opens a data channel and says `frames` on it.
  func open(_ label: String, _ frames: [Frame]) async throws -> any LinkChannel {
    let channel = await withCheckedContinuation { continuation in
      link.openChannel(label) { continuation.resume(returning: $0) }
    }
    guard let channel else { throw Surprise("no data channel") }
    kept.withLock { $0.append(channel) }
    channel.attach(
      onMessage: { [resetFeed] frame in
        guard case .reset(let code, let why)? = try? ChannelMessage(parsing: frame) else { return }
        HostilePeer.say("reset \(code): \(why)")
        resetFeed.yield()
      }, onClose: { _ in })
    for frame in frames { channel.send(frame) }
    return channel
  }

  /// Waits until the victim has ended the connection, or reset so many channels; half a minute at most.
  func awaitEnd(orResets count: Int = .max) async throws {
    let limit = Task { [resetFeed] in
      try await Task.sleep(for: .seconds(30))
      resetFeed.finish()
    }
    let start = Instant.now
    var left = count
    for await _ in resets {
      left -= 1
      if left == 0 { break }
    }
    limit.cancel()
    guard Instant.now.seconds(since: start) < 30 else { throw Surprise("still connected") }
  }

  /// Dies as if the power had gone: no word leaves any more.
  func die() -> Never {
    print("played")
    fflush(nil)
    kill(getpid(), SIGKILL)
    exit(1)
  }
}

/// The bytes of a text as a frame.
func frame(_ bytes: [UInt8]) -> Frame { Frame(copying: bytes) }

/// The opening message of a channel.
func opening(
  _ number: UInt64 = 1, keepsMessages: Bool = false, received: UInt64 = 0, consumed: UInt64 = 0
) -> Frame {
  ChannelMessage.open(
    .init(
      number: number, isKnown: false, keepsMessages: keepsMessages, received: received, consumed: consumed,
      limit: Limits.Channel.window)
  ).frame
}

/// A piece of data on a channel.
func data(_ bytes: [UInt8], at position: UInt64) -> Frame {
  let piece = ChannelMessage.dataFrame(capacity: bytes.count)
  bytes.withUnsafeBytes { piece.write($0) }
  ChannelMessage.number(piece, position)
  return piece
}

// MARK: - Any victim

/// What breaks the protocol below all programs: the connection ends, and nothing else happens.
private let sessionActs: [String: Act] = {
  /// Says frames on the lanes, once the victim has greeted.
  func lanes(_ frames: [(Frame, Lane)]) -> Act {
    .guest { stranger in
      await stranger.hear()
      for (frame, lane) in frames { stranger.link.send(frame, on: lane) }
      try await stranger.awaitEnd()
    }
  }
  /// Says frames on a channel of its own, of any name.
  func channel(_ frames: [Frame]) -> Act {
    .guest { stranger in
      await stranger.hear()
      _ = try await stranger.open("pipe", frames)
      try await stranger.awaitEnd(orResets: 1)
    }
  }
  let request = frame([2, 7, 0, 0] + [UInt8](repeating: 0xff, count: 40))
  return [
    "lane-garbage": lanes([(frame([UInt8](repeating: 0xff, count: 60_000)), .control)]),
    "lane-bulk-garbage": lanes([(frame([UInt8](repeating: 0xee, count: 3)), .bulk)]),
    "lane-empty": lanes([(frame([]), .control)]),
    "lane-second-hello": lanes([
      (
        Hello(session: .init(repeating: 0, count: 16), flags: [], requests: 1, writeCredit: 1, instance: 2, machine: 0)
          .encoded(),
        .control
      )
    ]),
    "lane-answers-nobody-asked-for": .guest { stranger in
      await stranger.hear()
      for sequence in 0..<2_000 as Range<UInt64> {
        let reply = Frame(capacity: Header.length)
        Header(kind: .reply, operation: UInt8(sequence & 0xff), status: .max, sequence: sequence << 13).write(to: reply)
        stranger.link.send(reply, on: .control)
      }
      stranger.link.send(frame([9]), on: .control)
      try await stranger.awaitEnd()
    },
    "lane-requests": .guest { stranger in
      await stranger.hear()
      for _ in 0..<50 { stranger.link.send(request, on: .control) }
      stranger.link.send(frame([99]), on: .control)
      try await stranger.awaitEnd()
    },
    "channel-garbage": channel([frame([UInt8](repeating: 0xff, count: 60_000))]),
    "channel-empty": channel([frame([])]),
    "channel-without-opening": channel([data([1], at: 0)]),
    "channel-opened-twice": channel([opening(), opening()]),
    "channel-gap": channel([opening(), data([1], at: 1_000)]),
    "channel-largest-position": channel([opening(), data([1], at: .max)]),
    "channel-credit-for-nothing": channel([opening(), ChannelMessage.credit(consumed: 1 << 60, limit: 1 << 61).frame]),
    "channel-took-what-was-not-said": channel([opening(received: 1 << 40, consumed: 1 << 40)]),
    "channel-after-the-end": channel([opening(), ChannelMessage.end(position: 0).frame, data([1], at: 1)]),
    "channel-end-in-the-middle": channel([opening(), ChannelMessage.end(position: 77).frame]),
    "channels-without-number": .guest { stranger in
      await stranger.hear()
      for number in 1...200 as ClosedRange<UInt64> { _ = try await stranger.open("x\(number)", [opening(number)]) }
      try await stranger.awaitEnd(orResets: 200)
    },
    "silence": .guest { stranger in
      await stranger.hear()
      try await stranger.awaitEnd()
    },
    "death": .guest { stranger in
      await stranger.hear()
      stranger.die()
    },
  ]
}()

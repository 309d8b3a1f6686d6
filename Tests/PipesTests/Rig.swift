import P2PFSCore
import Glibc
import P2PFSPipes
import Rig
import P2PFSSession
import Synchronization
import SystemPackage

/// Two sessions in memory, a channel between them, and a pipe at either end of it.
final class Joined: Sendable {
  let here: End
  let there: End
  private let sessions: (Session, Session)
  private let links = Mutex<(MemoryLink, MemoryLink)?>(nil)

  /// One computer: what its user's programs hold of the pipe, and how it went.
  final class End: Sendable {
    /// To be written to, and read from.
    let input: Int32
    let output: Int32
    let outcome: Task<PipeError?, Never>

    init(_ channel: SessionChannel, _ streams: Streams) {
      (input, output) = (streams.input, streams.output)
      let pipe = Pipe(input: streams.pipeInput, output: streams.pipeOutput, channel: channel)
      outcome = Task {
        do throws(PipeError) {
          try await pipe.run()
          return nil
        } catch {
          return error
        }
      }
    }
  }

  /// The descriptors of one end: those of the user's programs, and those of the pipe.
  struct Streams {
    var input: Int32
    var output: Int32
    var pipeInput: FileDescriptor?
    var pipeOutput: FileDescriptor

    /// Two pipes, as in a shell.
    static func pipes() -> Streams {
      let (source, sink) = (pipe(), pipe())
      return Streams(
        input: source.write, output: sink.read, pipeInput: FileDescriptor(rawValue: source.read),
        pipeOutput: FileDescriptor(rawValue: sink.write))
    }

    /// One socket for both, as from inetd(8).
    static func socket(flags: Int32 = 0) -> Streams {
      var ends: [Int32] = [-1, -1]
      precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | flags, 0, &ends) == 0)
      return Streams(
        input: ends[0], output: ends[0], pipeInput: FileDescriptor(rawValue: ends[1]),
        pipeOutput: FileDescriptor(rawValue: dup(ends[1])))
    }

    private static func pipe() -> (read: Int32, write: Int32) {
      var ends: [Int32] = [-1, -1]
      precondition(Glibc.pipe(&ends) == 0)
      return (ends[0], ends[1])
    }
  }

  init(_ streamsHere: Streams = .pipes(), _ streamsThere: Streams = .pipes()) async throws {
    signal(SIGPIPE, SIG_IGN)
    let identity = [UInt8](repeating: 7, count: 16)
    sessions = (Session(.init(identity: identity)), Session(.init(identity: identity)))
    let (channels, feed) = AsyncStream.makeStream(of: SessionChannel.self)
    sessions.1.acceptChannels { channel in
      channel.accept()
      feed.yield(channel)
    }
    Self.connect(sessions, links)
    let ours = try sessions.0.openChannel("pipe")
    guard let theirs = await channels.first(where: { _ in true }) else { throw SessionChannelError.cancelled }
    here = End(ours, streamsHere)
    there = End(theirs, streamsThere)
  }

  private static func connect(_ sessions: (Session, Session), _ links: borrowing Mutex<(MemoryLink, MemoryLink)?>) {
    let pair = MemoryLink.pair()
    links.withLock { $0 = pair }
    sessions.0.connect(pair.0)
    sessions.1.connect(pair.1)
  }

  /// Cuts the connection, with what is on its way, and makes another.
  func reconnect() {
    let old = links.withLock { $0 }
    old?.0.fallSilent()
    old?.1.fallSilent()
    old?.0.cut()
    usleep(1_000)
    Self.connect(sessions, links)
  }

  /// The other computer is gone for good.
  func endSession() { sessions.1.end() }
}

/// Runs what blocks on a thread of its own.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
  await withCheckedContinuation { continuation in
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(ThreadBody { continuation.resume(returning: body()) }).toOpaque()
    let error = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, argument)
    precondition(error == 0)
    pthread_detach(thread)
  }
}

private final class ThreadBody: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Writes all of it; false if somebody closed the other end. `most` bytes at a time, if given, at random.
func write(_ bytes: [UInt8], to descriptor: Int32, most: Int = .max) async -> Bool {
  await blocking {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = min(rest.count, most == .max ? .max : Int.random(in: 1...most))
      let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, count) }
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { return false }
      rest = rest.dropFirst(written)
    }
    return true
  }
}

/// Reads `count` bytes, or up to the end.
func read(_ count: Int = .max, from descriptor: Int32) async -> [UInt8] {
  await blocking {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while all.count < count {
      let found = Glibc.read(descriptor, &buffer, min(buffer.count, count - all.count))
      if found < 0, errno == EINTR { continue }
      guard found > 0 else { break }
      all += buffer[..<found]
    }
    return all
  }
}

func random(_ count: Int) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
    while filled < count {
      // At most 256 bytes a call.
      precondition(getentropy(bytes.baseAddress.map { $0 + filled }, min(256, count - filled)) == 0)
      filled += min(256, count - filled)
    }
  }
}

import P2PFSCore
import Glibc
import P2PFSPipes
import P2PFSSession
import SystemPackage
import Rig
import Testing
import P2PFSWire

@Suite(.onThreads, .timeLimit(.minutes(5))) struct FailureTests {
  @Test func `a reader that leaves while nothing flows ends both sides`() async throws {
    let joined = try await Joined()
    close(joined.there.output)
    #expect(await joined.there.outcome.value == .brokenPipe(isHere: true))
    #expect(await joined.here.outcome.value == .brokenPipe(isHere: false))
    // Its input was closed, as that of any program that has ended.
    #expect(await closesSoon(joined.here.input))
  }

  @Test func `a reader that leaves in the middle ends both sides`() async throws {
    let joined = try await Joined()
    async let sent = write(random(30_000_000), to: joined.here.input)
    #expect(await read(100_000, from: joined.there.output).count == 100_000)
    close(joined.there.output)
    #expect(await joined.there.outcome.value == .brokenPipe(isHere: true))
    #expect(await joined.here.outcome.value == .brokenPipe(isHere: false))
    #expect(await !sent)
  }

  @Test func `an output that cannot be written fails on both sides, with the reason`() async throws {
    var streams = Joined.Streams.pipes()
    try streams.pipeOutput.close()
    streams.pipeOutput = try FileDescriptor.open("/dev/full", .writeOnly)
    let joined = try await Joined(.pipes(), streams)
    #expect(await write([1], to: joined.here.input))
    #expect(await joined.there.outcome.value == .output(.noSpace))
    #expect(
      await joined.here.outcome.value
        == .channel(.reset(.failed, "it cannot write its standard output: No space left on device")))
  }

  @Test func `an input that cannot be read fails on both sides, with the reason`() async throws {
    var streams = Joined.Streams.pipes()
    try streams.pipeInput?.close()
    streams.pipeInput = try FileDescriptor.open("/tmp", .readOnly)
    let joined = try await Joined(streams)
    #expect(await joined.here.outcome.value == .input(.isDirectory))
    #expect(
      await joined.there.outcome.value
        == .channel(.reset(.failed, "it cannot read its standard input: Is a directory")))
  }

  @Test func `who gives up is heard at once, though both read and write`() async throws {
    let joined = try await Joined()
    async let sent = write(random(30_000_000), to: joined.there.input)
    #expect(await read(100_000, from: joined.here.output).count == 100_000)
    joined.here.outcome.cancel()
    #expect(await joined.here.outcome.value == .channel(.cancelled))
    #expect(await joined.there.outcome.value == .channel(.reset(.cancelled, "it was interrupted")))
    #expect(await !sent)
  }

  @Test func `what had arrived when the other side went is passed on`() async throws {
    let joined = try await Joined()
    let bytes = random(200_000)
    #expect(await write(bytes, to: joined.there.input))
    #expect(await read(1, from: joined.here.output) == [bytes[0]])
    // All of it lies within the first window; a moment, and all of it is here.
    try await Task.sleep(for: .milliseconds(200))
    joined.endSession()
    #expect(await read(from: joined.here.output) == Array(bytes.dropFirst()))
    #expect(await joined.here.outcome.value == .channel(.peerGone))
    #expect(await joined.there.outcome.value != nil)
  }

  @Test func `an output that nobody reads does not keep a failed pipe for ever`() async throws {
    let joined = try await Joined()
    async let sent = write(random(30_000_000), to: joined.there.input)
    #expect(await read(1, from: joined.here.output).count == 1)
    try await Task.sleep(for: .milliseconds(300))
    joined.endSession()
    #expect(await joined.here.outcome.value == .channel(.peerGone))
    #expect(await !sent)
    close(joined.here.output)
  }

  /// Whether the other end of a pipe is closed within ten seconds.
  private func closesSoon(_ descriptor: Int32) async -> Bool {
    await blocking {
      var polled = pollfd(fd: descriptor, events: 0, revents: 0)
      return poll(&polled, 1, 10_000) == 1 && Int32(polled.revents) & POLLERR != 0
    }
  }
}

import P2PFSCore
import Glibc
import P2PFSPipes
import P2PFSSession
import SystemPackage
import Rig
import Testing
import P2PFSWire

@Suite(.onThreads, .timeLimit(.minutes(5))) struct PipeTests {
  @Test func `everything arrives both ways at once, and both sides know`() async throws {
    let joined = try await Joined()
    let (one, other) = (random(3_000_000), random(2_000_001))
    async let sentHere = send(one, to: joined.here)
    async let sentThere = send(other, to: joined.there)
    async let atThere = read(from: joined.there.output)
    #expect(await read(from: joined.here.output) == other)
    #expect(await atThere == one)
    let sent = await (sentHere, sentThere)
    #expect(sent.0 && sent.1)
    #expect(await joined.here.outcome.value == nil)
    #expect(await joined.there.outcome.value == nil)
  }

  @Test func `the end of one direction leaves the other open`() async throws {
    let joined = try await Joined()
    #expect(await send([1, 2, 3], to: joined.here))
    #expect(await read(from: joined.there.output) == [1, 2, 3])
    let answer = random(500_000)
    async let sent = send(answer, to: joined.there)
    #expect(await read(from: joined.here.output) == answer)
    #expect(await sent)
    #expect(await joined.here.outcome.value == nil)
    #expect(await joined.there.outcome.value == nil)
  }

  @Test func `nothing at all is a pipe, too`() async throws {
    var streams = Joined.Streams.pipes()
    try streams.pipeInput?.close()
    streams.pipeInput = nil
    let joined = try await Joined(streams)
    #expect(await send([], to: joined.there))
    #expect(await read(from: joined.here.output) == [])
    #expect(await read(from: joined.there.output) == [])
    #expect(await joined.here.outcome.value == nil)
    #expect(await joined.there.outcome.value == nil)
  }

  @Test func `what is little leaves at once`() async throws {
    let joined = try await Joined()
    for number in UInt8(0)..<100 {
      let message = [UInt8](repeating: number, count: 13)
      // The input stays open: whoever waited for more would wait for ever.
      #expect(await write(message, to: joined.here.input))
      #expect(await read(13, from: joined.there.output) == message)
      #expect(await write([number], to: joined.there.input))
      #expect(await read(1, from: joined.here.output) == [number])
    }
    close(joined.here.input)
    close(joined.there.input)
    #expect(await joined.here.outcome.value == nil)
    #expect(await joined.there.outcome.value == nil)
  }

  @Test func `many small writes become few large ones at a reader that is slow`() async throws {
    let joined = try await Joined()
    let bytes = random(400_000)
    async let sent = send(bytes, to: joined.here, most: 40)
    close(joined.there.input)
    #expect(await read(from: joined.there.output) == bytes)
    #expect(await sent)
    #expect(await joined.here.outcome.value == nil)
  }

  @Test(arguments: 1...4)
  func `the bytes are right though the connection breaks again and again`(_ round: Int) async throws {
    let joined = try await Joined()
    let (one, other) = (random(40 * 150_000), random(40 * 90_000))
    async let atThere = read(from: joined.there.output)
    async let atHere = read(from: joined.here.output)
    for step in 0..<40 {
      async let fromHere = write(Array(one[step * 150_000..<(step + 1) * 150_000]), to: joined.here.input, most: 70_000)
      async let fromThere = write(Array(other[step * 90_000..<(step + 1) * 90_000]), to: joined.there.input)
      usleep(UInt32.random(in: 0..<5_000))
      joined.reconnect()
      let sent = await (fromHere, fromThere)
      #expect(sent.0 && sent.1)
    }
    close(joined.here.input)
    close(joined.there.input)
    let outcomes = await (joined.here.outcome.value, joined.there.outcome.value)
    #expect(outcomes.0 == nil && outcomes.1 == nil, "\(outcomes)")
    #expect(await atHere == other)
    #expect(await atThere == one)
  }

  @Test func `one socket for input and output has two directions`() async throws {
    let joined = try await Joined(.socket(flags: Int32(SOCK_NONBLOCK.rawValue)))
    // Only the pipe's end is to be non-blocking.
    _ = fcntl(joined.here.input, F_SETFL, 0)
    let (one, other) = (random(1_000_000), random(900_000))
    async let sentThere = send(other, to: joined.there)
    async let atHere = read(from: joined.here.output)
    #expect(await write(one, to: joined.here.input))
    shutdown(joined.here.input, Int32(SHUT_WR))
    #expect(await read(from: joined.there.output) == one)
    #expect(await atHere == other)
    #expect(await sentThere)
    #expect(await joined.here.outcome.value == nil)
    #expect(await joined.there.outcome.value == nil)
  }

  @Test func `a non-blocking output that is full for a while gets everything`() async throws {
    let streams = Joined.Streams.pipes()
    _ = fcntl(streams.pipeOutput.rawValue, F_SETFL, O_NONBLOCK)
    let joined = try await Joined(.pipes(), streams)
    let bytes = random(5_000_000)
    async let sent = send(bytes, to: joined.here)
    close(joined.there.input)
    try await Task.sleep(for: .milliseconds(100))
    #expect(await read(from: joined.there.output) == bytes)
    #expect(await sent)
    #expect(await joined.there.outcome.value == nil)
    #expect(await joined.here.outcome.value == nil)
  }

  private func send(_ bytes: [UInt8], to end: Joined.End, most: Int = .max) async -> Bool {
    defer { close(end.input) }
    return await write(bytes, to: end.input, most: most)
  }
}

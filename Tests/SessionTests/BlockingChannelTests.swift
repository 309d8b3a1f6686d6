import P2PFSCore
import Rig
import Testing
import P2PFSWire

@testable import P2PFSSession

@Suite(.onThreads, .timeLimit(.minutes(5))) struct BlockingChannelTests {
  @Test func `threads that wait for room together all get it`() async throws {
    let pair = ChannelPair(accepts: false)
    let taken = AsyncStream.makeStream(of: AsyncChannel.self)
    pair.there.acceptChannels { channel in
      channel.accept()
      taken.continuation.yield(AsyncChannel(channel))
    }
    pair.connect()
    let channel = BlockingChannel(try pair.here.openChannel("test", keepsMessages: true))
    let senders = (0..<3).map { _ in
      Worker("sender") {
        for _ in 0..<300 {
          let piece = SessionChannel.piece(capacity: 60_000)
          [UInt8](repeating: 1, count: 60_000).withUnsafeBytes { piece.write($0) }
          guard (try? channel.send(piece)) != nil else { return }
        }
      }
    }
    let limit = Task {
      try await Task.sleep(for: .seconds(20))
      channel.channel.reset(.failed, "they wait for ever")
    }
    guard let receiver = await taken.stream.first(where: { _ in true }) else { throw SessionChannelError.cancelled }
    var last: FrameSlice?
    for _ in 0..<900 { last = try await receiver.next(after: last) }
    #expect(last?.count == 60_000)
    limit.cancel()
    channel.channel.reset(.cancelled)
    for sender in senders { sender.join() }
  }
}

import Core
import Testing

@testable import Transport

@Suite(.timeLimit(.minutes(2)))
struct PeerConnectionTests {
  @Test func twoPeersExchangeMessagesOfEverySize() async throws {
    let pair = try await Pair.connected()
    let channel = try await pair.offerer.openChannel(label: "files")
    var incoming = pair.answerer.incomingChannels.makeAsyncIterator()
    let other = try #require(await incoming.next())
    #expect(other.label == "files")
    let inbox = Inbox(channel)
    let otherInbox = Inbox(other)
    for size in [0, 1, 2, 1_000, 16_384, 65_535] {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ size) }
      for kind in [DataChannel.Kind.binary, .text] {
        channel.send(Frame(copying: bytes), kind: kind)
        #expect(await otherInbox.next() == .message(bytes, kind))
        other.send(Frame(copying: bytes), kind: kind)
        #expect(await inbox.next() == .message(bytes, kind))
      }
    }
    #expect(channel.queuedBytes == 0)
    #expect(pair.answerer.lastHeard != nil)
    #expect(await pair.offerer.path?.isDirect == true)
    await pair.close()
    #expect(await inbox.next() == .closed(.closed))
  }
}

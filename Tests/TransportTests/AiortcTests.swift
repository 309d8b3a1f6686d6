import P2PFSCore
import Testing

@testable import P2PFSTransport

/// Interoperation with another implementation of WebRTC data channels.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct AiortcTests {
  private static let sizes = [0, 1, 2, 1_000, 16_384, 65_535]

  /// All candidates in one description: aiortc's command line peers do not trickle.
  private func complete(_ peer: PeerConnection) async throws -> SessionDescription {
    var description = try await peer.localDescription()
    for await candidate in peer.localCandidates { description.candidates.append(candidate) }
    description.isComplete = true
    return description
  }

  private func echo(_ channel: DataChannel, _ inbox: Inbox) async {
    for size in Self.sizes {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ size) }
      channel.send(Frame(copying: bytes))
      #expect(await inbox.next() == .message(bytes, .binary))
      let text = (0..<size).map { UInt8(97 + $0 % 26) }
      channel.send(Frame(copying: text), kind: .text)
      #expect(await inbox.next() == .message(text, .text))
    }
  }

  @Test func weOfferAiortcAnswersAndWeClose() async throws {
    let python = try AiortcPeer(role: "answer")
    let peer = PeerConnection(role: .offerer)
    try python.send(["type": "offer", "sdp": try await complete(peer).text])
    let answer = try await python.next(having: "sdp")
    try await peer.setRemote(SessionDescription(parsing: #require(answer["sdp"])))
    try await peer.connected()
    let channel = try await peer.openChannel(label: "ours")
    try await python.event("channel")
    let inbox = Inbox(channel)
    await echo(channel, inbox)
    channel.close()
    #expect(await inbox.next() == .closed(.closed))
    try await python.event("channel closed")
    await peer.close()
    #expect(try await python.finish() == 0)
  }

  @Test func aiortcOffersWeAnswerAndAiortcCloses() async throws {
    let python = try AiortcPeer(role: "offer")
    let offer = try await python.next(having: "sdp")
    let peer = PeerConnection(role: .answerer)
    try await peer.setRemote(SessionDescription(parsing: #require(offer["sdp"])))
    try python.send(["type": "answer", "sdp": try await complete(peer).text])
    try await peer.connected()
    var incoming = peer.incomingChannels.makeAsyncIterator()
    let channel = try #require(await incoming.next())
    #expect(channel.label == "theirs")
    try await python.event("open")
    let inbox = Inbox(channel)
    await echo(channel, inbox)
    try python.send(["command": "close channel"])
    #expect(await inbox.next() == .closed(.channelClosedByPeer))
    try await python.event("channel closed")
    try python.send(["command": "close"])
    try await python.event("bye")
    #expect(await peer.ended() == .closedByPeer)
    #expect(try await python.finish() == 0)
  }
}

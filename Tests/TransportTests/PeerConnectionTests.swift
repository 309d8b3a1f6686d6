import CP2PFSNice
import P2PFSCore
import Glibc
import Testing

@testable import P2PFSTransport

@Suite(.timeLimit(.minutes(2)), .serialized)
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

  @Test func aWrongFingerprintIsRefusedByBothBeforeAnyData() async throws {
    for wrongInOffer in [true, false] {
      let pair = Pair(
        offerer: PeerConnection(role: .offerer, configuration: loopback),
        answerer: PeerConnection(role: .answerer, configuration: loopback))
      let swap: (inout SessionDescription) -> Void = {
        var bytes = $0.fingerprint.bytes
        bytes[31] ^= 1
        $0.fingerprint = Fingerprint(bytes)!
      }
      if wrongInOffer {
        try await pair.exchange(changingOffer: swap)
      } else {
        try await pair.exchange(changingAnswer: swap)
      }
      let deceived = wrongInOffer ? pair.answerer : pair.offerer
      let other = wrongInOffer ? pair.offerer : pair.answerer
      await #expect(throws: TransportError.fingerprintMismatch) { try await deceived.connected() }
      await #expect(throws: TransportError.self) { try await other.connected() }
      for await _ in deceived.incomingChannels { Issue.record("a channel of a stranger") }
      await pair.close()
    }
  }

  @Test func anAnswerThatLeavesTheDTLSRoleOpenIsRefused() async throws {
    let pair = Pair(
      offerer: PeerConnection(role: .offerer, configuration: loopback),
      answerer: PeerConnection(role: .answerer, configuration: loopback))
    await #expect(throws: TransportError.badDescription("the answer leaves the DTLS role open")) {
      try await pair.exchange(changingAnswer: { $0.setup = .actpass })
    }
    await pair.close()
  }

  @Test func callsInTheWrongOrderAreRefused() async throws {
    let answerer = PeerConnection(role: .answerer, configuration: loopback)
    await #expect(throws: TransportError.self) { try await answerer.localDescription() }
    let offerer = PeerConnection(role: .offerer, configuration: loopback)
    let offer = try await offerer.localDescription()
    try await answerer.setRemote(offer)
    await #expect(throws: TransportError.self) { try await answerer.setRemote(offer) }
    await #expect(throws: TransportError.self) { try await answerer.openChannel(label: "x") }
    await offerer.close()
    await answerer.close()
    await #expect(throws: TransportError.closed) { try await offerer.connected() }
    #expect(await offerer.ended() == .closed)
  }

  @Test func garbageToTheICEPortHarmsNobody() async throws {
    let pair = try await Pair.connected()
    let path = try #require(await pair.offerer.path)
    let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { Glibc.close(socket) }
    var random = SystemRandomNumberGenerator()
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = path.local.port.bigEndian
    inet_pton(AF_INET, path.local.address, &address.sin_addr)
    for length in 0..<500 {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      _ = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(socket, bytes, length, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    let (channel, other) = try await pair.channel()
    let inbox = Inbox(other)
    channel.send(Frame(copying: [1, 2, 3]))
    #expect(await inbox.next() == .message([1, 2, 3], .binary))
    await pair.close()
  }

  @Test func eitherSideMayCloseAChannelAndTheOtherHears() async throws {
    let pair = try await Pair.connected()
    for fromOpener in [true, false] {
      let (channel, other) = try await pair.channel()
      let inbox = Inbox(channel)
      let otherInbox = Inbox(other)
      let (closer, closed) = fromOpener ? (channel, otherInbox) : (other, inbox)
      closer.send(Frame(copying: [7]))
      closer.close()
      #expect(await closed.next() == .message([7], .binary))
      #expect(await closed.next() == .closed(.channelClosedByPeer))
      #expect(await (fromOpener ? inbox : otherInbox).next() == .closed(.closed))
      closer.send(Frame(copying: [8]))
      #expect(await closed.next() == nil)
    }
    await pair.close()
  }

  @Test func `streams of closed channels are used again, many closed at once, too`() async throws {
    let pair = try await Pair.connected()
    for round in 0..<20 {
      var inboxes: [Inbox] = []
      var closers: [DataChannel] = []
      for index in 0..<20 {
        let (channel, other) = try await pair.channel()
        #expect(channel.stream < 200, "round \(round)")
        inboxes.append(Inbox(index % 2 == 0 ? other : channel))
        closers.append(index % 2 == 0 ? channel : other)
      }
      for closer in closers {
        closer.send(Frame(copying: [7]))
        closer.close()
      }
      for inbox in inboxes {
        #expect(await inbox.next() == .message([7], .binary))
        #expect(await inbox.next() == .closed(.channelClosedByPeer))
      }
    }
    await pair.close()
  }

  @Test func `a connection may be closed at any moment of its making`() async throws {
    for moment in 0..<40 {
      let pair = Pair(
        offerer: PeerConnection(role: .offerer, configuration: loopback),
        answerer: PeerConnection(role: .answerer, configuration: loopback))
      let making = Task {
        try await pair.exchange()
        try await pair.offerer.connected()
        let (channel, _) = try await pair.channel()
        for _ in 0..<20 { channel.send(Frame(copying: [UInt8](repeating: 1, count: 60_000))) }
      }
      try await Task.sleep(nanoseconds: UInt64(moment) * 2_000_000)
      let (first, second) = moment % 2 == 0 ? (pair.offerer, pair.answerer) : (pair.answerer, pair.offerer)
      await first.close()
      await second.close()
      _ = await making.result
      #expect(await first.ended() == .closed)
      await #expect(throws: TransportError.self) { try await first.connected() }
      await #expect(throws: TransportError.self) { try await second.localDescription() }
      #expect(await first.path == nil)
    }
  }

  @Test func closingAConnectionLetsArriveWhatWasSent() async throws {
    let pair = try await Pair.connected()
    let (channel, other) = try await pair.channel()
    let inbox = Inbox(other)
    for index in 0..<20 { channel.send(Frame(copying: [UInt8](repeating: UInt8(index), count: 60_000))) }
    await pair.offerer.close()
    for index in 0..<20 {
      #expect(await inbox.next() == .message([UInt8](repeating: UInt8(index), count: 60_000), .binary))
    }
    #expect(await inbox.next() == .closed(.closedByPeer))
    #expect(await pair.answerer.ended() == .closedByPeer)
    await pair.close()
  }

  @Test func messagesBeforeTheReceiverAreKeptButNotWithoutBound() async throws {
    let pair = try await Pair.connected()
    let (channel, other) = try await pair.channel()
    for index in 0..<UInt8(100) { channel.send(Frame(copying: [index])) }
    let (second, otherSecond) = try await pair.channel()
    let marker = Inbox(otherSecond)
    second.send(Frame(copying: [1]))
    #expect(await marker.next() == .message([1], .binary))
    let inbox = Inbox(other)
    for index in 0..<UInt8(100) { #expect(await inbox.next() == .message([index], .binary)) }
    let (flood, _) = try await pair.channel()
    for _ in 0...Limits.Transport.kept { flood.send(Frame(copying: [0])) }
    guard case .violation = await pair.answerer.ended() else {
      Issue.record("an unbounded number of messages is kept")
      return
    }
    await pair.close()
  }

  @Test func aSmallMessageDoesNotWaitBehindBulk() async throws {
    let pair = try await Pair.connected()
    let (bulk, otherBulk) = try await pair.channel()
    let (control, otherControl) = try await pair.channel()
    let inbox = Inbox(otherControl)
    let received = Inbox(otherBulk)
    for _ in 0..<1_000 { bulk.send(Frame(copying: [UInt8](repeating: 1, count: 65_535))) }
    control.send(Frame(copying: [2]))
    #expect(await inbox.next() == .message([2], .binary))
    #expect(bulk.queuedBytes > 0, "the small message came after 65 MB of bulk")
    #expect(await received.next() != nil)
    await pair.close()
  }

  @Test func aFloodOfCandidatesIsBounded() async throws {
    let pair = Pair(
      offerer: PeerConnection(role: .offerer, configuration: loopback),
      answerer: PeerConnection(role: .answerer, configuration: loopback))
    for port in 1...UInt16(2_000) {
      let candidate = Candidate(
        foundation: "x", priority: UInt32(port), address: "127.0.0.9", port: port, kind: .host)
      await pair.offerer.add(candidate)
    }
    try await pair.exchange()
    try await pair.offerer.connected()
    for port in 1...UInt16(2_000) {
      await pair.answerer.add(
        Candidate(foundation: "y", priority: UInt32(port), address: "127.0.0.9", port: port, kind: .host))
    }
    try await pair.answerer.connected()
    await pair.close()
  }

  @Test func connectionsComeAndGoWithoutALeakOfDescriptors() async {
    // In a process of its own: other tests open descriptors meanwhile.
    await #expect(processExitsWith: .success) {
      func descriptors() -> Int {
        (0..<4_096).count { fcntl(Int32($0), F_GETFD) >= 0 }
      }
      try await Pair.connected().close()
      let before = descriptors()
      for _ in 0..<100 {
        let pair = try await Pair.connected()
        await pair.close()
      }
      // libnice closes its sockets when its agent is gone, a turn or two after `close` returns.
      var left = descriptors()
      for _ in 0..<100 where left > before {
        try await Task.sleep(nanoseconds: 20_000_000)
        left = descriptors()
      }
      #expect(left <= before)
    }
  }

  @Test func whatIsDroppedWithAChannelLeavesItsPlaceToTheLastWord() async throws {
    let pair = try await Pair.connected()
    let (channel, other) = try await pair.channel()
    let received = Inbox(other)
    for _ in 0..<2_000 { channel.send(Frame(copying: [UInt8](repeating: 1, count: 50_000))) }
    channel.close(dropping: Frame(copying: [2]))
    var count = 0
    while case .message(let bytes, _)? = await received.next() {
      count += 1
      if bytes == [2] { break }
    }
    #expect(count < 2_000)
    #expect(await received.next() == .closed(.channelClosedByPeer))
    #expect(channel.queuedBytes == 0)
    let (second, its) = try await pair.channel()
    let inbox = Inbox(its)
    second.send(Frame(copying: [3]))
    #expect(await inbox.next() == .message([3], .binary))
    await pair.close()
  }

  @Test func aDroppedConnectionClosesItself() async throws {
    var pair: Pair? = try await Pair.connected()
    let answerer = try #require(pair).answerer
    pair = nil
    #expect(await answerer.ended() == .closedByPeer)
    await answerer.close()
  }
}

private let loopback = ICEConfiguration(includesLoopback: true)

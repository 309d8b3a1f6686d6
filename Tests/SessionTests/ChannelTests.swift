import P2PFSCore
import Glibc
import Rig
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSSession

/// Two sessions with channels between them, and the connections that come and go.
final class ChannelPair: Sendable {
  let here = Session(.init(identity: Pair.identity, timeout: 30))
  let there = Session(.init(identity: Pair.identity, timeout: 30))
  private let links = Mutex<(MemoryLink, MemoryLink)?>(nil)
  private let arrived: AsyncStream<SessionChannel>
  private let feed: AsyncStream<SessionChannel>.Continuation

  init(accepts: Bool = true) {
    (arrived, feed) = AsyncStream.makeStream(of: SessionChannel.self)
    if accepts {
      there.acceptChannels { [feed] channel in
        channel.accept()
        feed.yield(channel)
      }
    }
  }

  /// Connects both anew, in the place of what was before.
  func connect() {
    let pair = MemoryLink.pair()
    links.withLock { $0 = pair }
    here.connect(pair.0)
    there.connect(pair.1)
  }

  /// Cuts the connection: both are told.
  func cut() { links.withLock { $0 }?.0.cut() }

  /// What either side says from here on is lost.
  func fallSilent() {
    let links = links.withLock { $0 }
    links?.0.fallSilent()
    links?.1.fallSilent()
  }

  /// Opens a channel here; returns both of its ends.
  func open(_ name: String = "test", keepsMessages: Bool = false) async throws -> (AsyncChannel, AsyncChannel) {
    let ours = try here.openChannel(name, keepsMessages: keepsMessages)
    for await theirs in arrived { return (AsyncChannel(ours), AsyncChannel(theirs)) }
    throw SessionChannelError.cancelled
  }
}

extension AsyncChannel {
  func send(_ bytes: [UInt8]) async throws(SessionChannelError) {
    let piece = SessionChannel.piece(capacity: bytes.count)
    bytes.withUnsafeBytes { piece.write($0) }
    try await send(piece)
  }

  /// Everything up to the end.
  func all() async throws(SessionChannelError) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var last: FrameSlice?
    while let piece = try await next(after: last) {
      result.append(Array(piece.bytes))
      last = piece
    }
    return result
  }
}

func pseudorandom(_ count: Int, seed: UInt64) -> [UInt8] {
  var state = seed
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 33)
  }
}

@Suite(.onThreads, .timeLimit(.minutes(5))) struct ChannelTests {
  @Test func bothWaysAtOnceAndEachEndByItself() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    try await ours.channel.opened()
    try await ours.send([1, 2, 3])
    ours.channel.finish()
    #expect(try await theirs.all() == [[1, 2, 3]])
    #expect(!ours.channel.isComplete)
    try await theirs.send([4])
    theirs.channel.finish()
    #expect(try await ours.all() == [[4]])
    try await ours.channel.over()
    try await theirs.channel.over()
    #expect(pair.here.state.withLock { $0.channels.open.isEmpty })
    #expect(pair.there.state.withLock { $0.channels.open.isEmpty })
  }

  @Test func bordersOfMessagesAreKeptEmptyOnesToo() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open(keepsMessages: true)
    let messages: [[UInt8]] = [[], [0], Array(repeating: 7, count: Limits.Channel.piece), [], [9, 9]]
    for message in messages { try await ours.send(message) }
    ours.channel.finish()
    #expect(theirs.channel.keepsMessages)
    #expect(try await theirs.all() == messages)
  }

  @Test func aSenderWaitsForWhoeverDoesNotTake() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    var accepted = 0
    while accepted < 1_000 {
      let piece = SessionChannel.piece(capacity: 1_000)
      piece.write(UInt64(accepted))
      piece.count += 992
      guard try ours.channel.send(piece) else { break }
      accepted += 1
    }
    #expect(accepted == Int(Limits.Channel.window) / (1_000 + Limits.Channel.pieceCost))
    // It goes on when something is taken.
    async let rest: Void = {
      for _ in accepted..<1_000 { try await ours.send([UInt8](repeating: 1, count: 1_000)) }
      ours.channel.finish()
    }()
    #expect(try await theirs.all().count == 1_000)
    try await rest
  }

  @Test func theWindowGrowsForWhoTakesQuicklyAndPoolsAreGivenBack() async throws {
    let pair = ChannelPair()
    pair.connect()
    for _ in 0..<6 {
      let (ours, theirs) = try await pair.open()
      async let sent: Void = {
        for _ in 0..<1_000 { try await ours.send([UInt8](repeating: 1, count: 30_000)) }
        ours.channel.finish()
      }()
      #expect(try await theirs.all().count == 1_000)
      try await sent
      theirs.channel.finish()
      _ = try await ours.all()
      try await ours.channel.over()
      try await theirs.channel.over()
    }
    for session in [pair.here, pair.there] {
      #expect(session.sendPool.take(Limits.Channel.windowPool) && session.receivePool.take(Limits.Channel.windowPool))
    }
  }

  @Test func manyChannelsShareThePoolsWithoutStandingStill() async throws {
    let pair = ChannelPair()
    pair.connect()
    // Nothing is left for wider windows at the sender, while the receiver's grow.
    #expect(pair.here.sendPool.take(Limits.Channel.windowPool))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<20 {
        let (ours, theirs) = try await pair.open()
        group.addTask {
          for _ in 0..<200 { try await ours.send([UInt8](repeating: UInt8(index), count: 30_000)) }
          ours.channel.finish()
        }
        group.addTask {
          let pieces = try await theirs.all()
          #expect(pieces.count == 200)
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func whatWasSaidArrivesOnceAndInOrderThroughManyCuts() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    // On real threads; `SimulationTests` has many more of these.
    let forth = pseudorandom(600_000, seed: 1)
    let back = pseudorandom(500_000, seed: 2)
    let isDone = Atomic<Bool>(false)
    let cutter = Task {
      while !isDone.load(ordering: .relaxed) {
        try? await Task.sleep(for: .milliseconds(Int.random(in: 1...12)))
        // What is on its way when a network dies is lost.
        if Bool.random() {
          pair.fallSilent()
          try? await Task.sleep(for: .milliseconds(Int.random(in: 0...5)))
        }
        pair.cut()
        if Bool.random() { try? await Task.sleep(for: .milliseconds(Int.random(in: 0...3))) }
        pair.connect()
      }
    }
    func say(_ bytes: [UInt8], on channel: AsyncChannel) async throws {
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = Int.random(in: 1...20_000)
        try await channel.send(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
        if count < 100 { try? await Task.sleep(for: .milliseconds(1)) }
      }
      channel.channel.finish()
    }
    async let sent: Void = say(forth, on: ours)
    async let answered: Void = say(back, on: theirs)
    async let heard = theirs.all()
    async let heardBack = ours.all()
    #expect(try await heard.joined().elementsEqual(forth))
    #expect(try await heardBack.joined().elementsEqual(back))
    _ = try await (sent, answered)
    try await ours.channel.over()
    try await theirs.channel.over()
    isDone.store(true, ordering: .relaxed)
    await cutter.value
  }

  @Test func aChannelThatNobodyTakesIsRefused() async throws {
    let pair = ChannelPair(accepts: false)
    pair.connect()
    let channel = try pair.here.openChannel("anything")
    await #expect(throws: SessionChannelError.reset(.refused, "this program accepts no channels")) {
      try await channel.opened()
    }
    #expect(throws: SessionChannelError.self) { _ = try channel.send(SessionChannel.piece()) }
  }

  @Test func aResetEndsBothDirectionsAndWhatHasArrivedIsStillReceived() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    try await ours.send([5])
    ours.channel.reset(.failed, "no space left")
    #expect(eventually { theirs.channel.failure != nil })
    #expect(try await theirs.next(after: nil).map { Array($0.bytes) } == [5])
    await #expect(throws: SessionChannelError.reset(.failed, "no space left")) { try await theirs.next(after: nil) }
    await #expect(throws: SessionChannelError.reset(.failed, "no space left")) { try await theirs.channel.over() }
  }

  @Test func anEndThatCameBeforeAResetIsReadAsTheEnd() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    try await ours.send([1])
    ours.channel.finish()
    ours.channel.reset(.cancelled)
    #expect(eventually { theirs.channel.failure != nil })
    let piece = try await theirs.next(after: nil)
    #expect(piece?.count == 1)
    #expect(try await theirs.next(after: piece) == nil)
    #expect(try await theirs.next(after: nil) == nil)
  }

  @Test func theFirstThatIsCompleteStaysUntilTheOtherKnows() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    for side in [ours, theirs] { side.channel.finish() }
    #expect(try await ours.next(after: nil) == nil)
    #expect(eventually { ours.channel.isReceivingComplete })
    // Our word that we took its end is lost, and so is the connection, which is noticed late.
    pair.fallSilent()
    #expect(try await theirs.next(after: nil) == nil)
    for _ in 0..<5 { for session in [pair.here, pair.there] { session.tick(1) } }
    #expect(!theirs.channel.isComplete || ours.channel.failure == nil)
    pair.connect()
    try await ours.channel.over()
    try await theirs.channel.over()
  }

  @Test func aChannelThatIsNotOpenedAgainIsOverAlsoOnConnectionsThatComeAndGo() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    // Given up while there is no connection, so that the peer does not hear of it.
    pair.cut()
    #expect(eventually { pair.there.status == .offline && pair.here.status == .offline })
    ours.channel.reset(.cancelled)
    for _ in 0..<4 {
      pair.connect()
      #expect(eventually { pair.there.isOnline })
      for _ in 0..<5 { pair.there.tick(1) }
      pair.cut()
      #expect(eventually { !pair.there.isOnline })
    }
    #expect(theirs.channel.failure == .reset(.lost, ""))
  }

  @Test func aResetWithoutAConnectionReachesThePeerWithTheNextOne() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    try await ours.channel.opened()
    pair.cut()
    theirs.channel.reset(.cancelled)
    pair.connect()
    await #expect(throws: SessionChannelError.reset(.lost, "")) { try await ours.next(after: nil) }
  }

  @Test func channelsFailWhenThePeerStaysAway() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    pair.cut()
    #expect(eventually { !pair.here.isOnline && !pair.there.isOnline })
    for _ in 0..<31 { pair.here.tick(1) }
    await #expect(throws: SessionChannelError.peerGone) { try await ours.next(after: nil) }
    #expect(throws: SessionChannelError.peerGone) { try _ = pair.here.openChannel("late") }
    pair.there.end()
    await #expect(throws: SessionChannelError.peerGone) { try await theirs.channel.over() }
  }

  @Test func aPeerThatWasStartedAgainKnowsNoChannel() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, _) = try await pair.open()
    let again = Session(.init(identity: Pair.identity))
    again.acceptChannels { $0.accept() }
    let links = MemoryLink.pair()
    pair.here.connect(links.0)
    again.connect(links.1)
    await #expect(throws: SessionChannelError.reset(.lost, "")) { try await ours.next(after: nil) }
    let next = try pair.here.openChannel("next")
    try await next.opened()
    withExtendedLifetime(links) {}
  }

  @Test func aTaskThatIsCancelledWhileItWaitsLeavesTheChannelInOrder() async throws {
    let pair = ChannelPair()
    pair.connect()
    let (ours, theirs) = try await pair.open()
    let waiting = Task { try await theirs.next(after: nil) }
    try await Task.sleep(for: .milliseconds(20))
    waiting.cancel()
    await #expect(throws: SessionChannelError.cancelled) { try await waiting.value }
    try await ours.send([1])
    #expect(try await theirs.next(after: nil).map { Array($0.bytes) } == [1])
  }

  @Test func channelsThatWaitedForTheFirstConnectionAreOpenedOnIt() async throws {
    let pair = ChannelPair()
    let ours = AsyncChannel(try pair.here.openChannel("early"))
    try await ours.send([1])
    pair.connect()
    try await ours.channel.opened()
    try await ours.send([2])
  }
}

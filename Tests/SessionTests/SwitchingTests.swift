import P2PFSCore
import Glibc
import Rig
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSSession

/// A connection that is made beside the one in use.
@Suite(.onThreads) struct SwitchingTests {
  /// Follows the states of a session.
  private final class States: Sendable {
    let seen = Mutex<[SessionState]>([])
    init(_ session: Session) { session.observe { state in self.seen.withLock { $0.append(state) } } }
  }

  @Test func theOldConnectionServesUntilThePeerGreetsOnTheNew() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let states = States(pair.client)
    // The exporter does not know of this one yet.
    let (one, other) = MemoryLink.pair()
    pair.client.connect(one)
    #expect(pair.client.isOnline && pair.client.isBeingGreeted)
    let answers = pair.ask(look)
    #expect(eventually { answers.replies.count == 1 })
    pair.exporter.connect(other)
    #expect(eventually { pair.client.state.withLock { $0.phase.link === one } })
    #expect(eventually { pair.exporter.state.withLock { $0.phase.link === other } })
    let more = pair.ask(directory)
    #expect(eventually { more.replies.count == 1 })
    #expect(states.seen.withLock { $0.isEmpty })
    withExtendedLifetime((first, one, other)) {}
  }

  @Test func whatHasNoAnswerIsAskedAgainAndDoneOnce() {
    let pair = Pair()
    pair.recorder.state.withLock { $0.answersAtOnce = false }
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let answers = (0..<20).map { _ in pair.ask(directory) }
    #expect(eventually { pair.recorder.count == 20 })
    let second = pair.connect()
    #expect(eventually { pair.exporter.state.withLock { $0.phase.link === second.exporter } })
    #expect(eventually { pair.client.state.withLock { $0.phase.link === second.client } })
    pair.recorder.state.withLock { $0.answersAtOnce = true }
    for (_, exchange) in pair.recorder.state.withLock({ $0.served }) {
      exchange.reply(Frame.reply(to: exchange.header))
    }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 } })
    #expect(pair.recorder.count == 20)
    withExtendedLifetime((first, second)) {}
  }

  @Test func changesHappenOnceWhileConnectionsAreReplacedAllTheTime() {
    let pair = Pair()
    var links = [pair.connect()]
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    var answers: [Answers] = []
    for round in 0..<200 {
      for _ in 0..<5 { answers.append(pair.ask(directory)) }
      if round % 4 == 0 { links.append(pair.connect()) }
      if round % 16 == 0 { usleep(1_000) }
    }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 } })
    #expect(answers.allSatisfy { $0.replies.first?.error == nil })
    #expect(pair.recorder.count == answers.count)
    withExtendedLifetime(links) {}
  }

  @Test func aNewConnectionThatFailsLeavesTheOldOneAlone() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let states = States(pair.client)
    let (one, other) = MemoryLink.pair()
    pair.client.connect(one)
    other.send(Frame(copying: [9, 9, 9]), on: .control)
    other.cut()
    #expect(eventually { !pair.client.isBeingGreeted })
    let answers = pair.ask(look)
    #expect(eventually { answers.replies.count == 1 })
    #expect(states.seen.withLock { $0.isEmpty })
    withExtendedLifetime((first, one, other)) {}
  }

  @Test func theOldConnectionMayBreakBeforeTheGreeting() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let (one, other) = MemoryLink.pair()
    pair.client.connect(one)
    first.client.cut()
    #expect(eventually { pair.client.status == .offline })
    let answers = pair.ask(look)
    pair.exporter.connect(other)
    #expect(eventually { answers.replies.count == 1 })
    withExtendedLifetime((first, one, other)) {}
  }

  @Test func channelsGoOnWhereTheyWere() throws {
    let pair = Pair()
    let accepted = Mutex<SessionChannel?>(nil)
    pair.exporter.acceptChannels { channel in
      channel.accept()
      accepted.withLock { $0 = channel }
    }
    var links = [pair.connect()]
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let channel = try pair.client.openChannel("numbers", keepsMessages: true)
    #expect(eventually { accepted.withLock { $0 } != nil })
    var got: [UInt8] = []
    func piece(_ number: UInt8) -> Frame {
      let frame = ChannelMessage.dataFrame(capacity: 1)
      frame.write(number)
      return frame
    }
    func take() {
      while case .piece(let piece)? = try? accepted.withLock({ $0 })?.receive() {
        got.append(piece.bytes[0])
        accepted.withLock { $0 }?.consumed(piece)
      }
    }
    for number in UInt8(0)..<100 {
      #expect(try channel.send(piece(number)))
      if number % 10 == 5 { links.append(pair.connect()) }
      take()
    }
    #expect(
      eventually {
        take()
        return got.count == 100
      })
    #expect(got == Array(0..<100))
    withExtendedLifetime(links) {}
  }

  @Test func anotherConnectionIsWantedWhenTheNetworkChangesAndThePeerIsSilent() async {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    #expect(!pair.client.needsConnection)
    await pair.client.networkChanged()
    // It has answered.
    #expect(!pair.client.needsConnection)
    first.client.fallSilent()
    await pair.client.networkChanged()
    #expect(pair.client.needsConnection && pair.client.isOnline)
    let second = pair.connect()
    #expect(eventually { !pair.client.needsConnection })
    #expect(pair.client.state.withLock { $0.phase.link === second.client })
    withExtendedLifetime((first, second)) {}
  }

  @Test func anotherConnectionIsWantedAfterASecondWithoutAnAnswer() async {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    first.exporter.fallSilent()
    let answers = pair.ask(look)
    var seconds = 0.0
    // The first tick takes note of what was heard before.
    _ = pair.client.tick(Limits.Session.shortTick)
    while !pair.client.needsConnection, seconds < 5 {
      #expect(pair.client.tick(Limits.Session.shortTick) == Limits.Session.shortTick)
      seconds += Limits.Session.shortTick
    }
    #expect((0.9...1.5).contains(seconds) && pair.client.isOnline)
    let second = pair.connect()
    #expect(eventually { answers.replies.count == 1 && !pair.client.needsConnection })
    withExtendedLifetime((first, second)) {}
  }

  @Test func makersHearOfEachChange() async {
    let pair = Pair()
    var needs = pair.client.needs().makeAsyncIterator()
    #expect(await needs.next() == true)
    let links = pair.connect()
    #expect(await needs.next() == false)
    links.client.cut()
    #expect(await needs.next() == true)
    pair.client.end()
    #expect(await needs.next() == nil)
  }
}

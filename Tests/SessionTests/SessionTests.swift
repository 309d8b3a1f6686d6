import P2PFSCore
import Glibc
import Rig
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSSession

/// A responder whose answers the test controls.
final class Recorder: Responder {
  struct State {
    var served: [(frame: Frame, exchange: Exchange)] = []
    var answersAtOnce = true
    var ends = 0
  }
  let state = Mutex(State())
  let isReadOnly = false

  func serve(_ request: Frame, _ exchange: Exchange) {
    let answer = state.withLock { state in
      state.served.append((request, exchange))
      return state.answersAtOnce
    }
    if answer { exchange.reply(Frame.reply(to: exchange.header)) }
  }
  func end() { state.withLock { $0.ends += 1 } }

  var count: Int { state.withLock { $0.served.count } }
  var operations: [UInt8] { state.withLock { $0.served.map(\.exchange.header.operation) } }
}

/// A client and an exporter that share a session, and the connections between them.
struct Pair {
  static let identity = [UInt8](repeating: 7, count: 16)
  let recorder = Recorder()
  let client: Session
  let exporter: Session

  init(timeout: Double = 30) {
    client = Session(.init(identity: Pair.identity, timeout: timeout))
    exporter = Session(.init(identity: Pair.identity, timeout: timeout), responder: recorder)
  }

  /// Connects both; returns the links, which must be kept.
  func connect() -> (client: MemoryLink, exporter: MemoryLink) {
    let (one, other) = MemoryLink.pair()
    client.connect(one)
    exporter.connect(other)
    return (one, other)
  }

  /// Sends a request and collects its replies.
  func ask(_ request: Request) -> Answers {
    let answers = Answers()
    answers.ticket = client.send(request.encoded(), on: .control) { answers.add($0) }
    return answers
  }
}

final class Answers: Sendable {
  private let state = Mutex<(replies: [Reply], ticket: UInt64)>(([], 0))
  func add(_ reply: Reply) { state.withLock { $0.replies.append(reply) } }
  var replies: [Reply] { state.withLock { $0.replies } }
  var ticket: UInt64 {
    get { state.withLock { $0.ticket } }
    set { state.withLock { $0.ticket = newValue } }
  }
}

let directory = Request.mkdir(Path.root, mode: 0o755)
let look = Request.lookup(.path(.root))

@Suite(.onThreads) struct SessionTests {
  @Test func aRequestIsAnsweredOnce() {
    let pair = Pair()
    let links = pair.connect()
    let answers = pair.ask(look)
    #expect(eventually { answers.replies.count == 1 })
    #expect(answers.replies.first?.error == nil)
    #expect(pair.recorder.operations == [Operation.lookup.rawValue])
    #expect(pair.client.status == .online && pair.client.peerExports && !pair.exporter.peerExports)
    withExtendedLifetime(links) {}
  }

  @Test func aSideWithoutAnExportAnswersENOSYS() {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.exporter.isOnline })
    let answers = Answers()
    pair.exporter.send(look.encoded(), on: .control) { answers.add($0) }
    #expect(eventually { answers.replies.first?.error == .noFunction })
    withExtendedLifetime(links) {}
  }

  @Test func requestsWaitForTheFirstConnection() {
    let pair = Pair()
    let answers = pair.ask(directory)
    #expect(answers.replies.isEmpty)
    let links = pair.connect()
    #expect(eventually { answers.replies.count == 1 })
    withExtendedLifetime(links) {}
  }

  @Test func aChangeWhoseAnswerWasLostHappensOnce() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    first.exporter.fallSilent()
    let answers = pair.ask(directory)
    #expect(eventually { pair.recorder.count == 1 })
    first.client.cut()
    #expect(eventually { !pair.client.isOnline && !pair.exporter.isOnline })
    #expect(answers.replies.isEmpty)
    let second = pair.connect()
    #expect(eventually { answers.replies.count == 1 })
    #expect(pair.recorder.count == 1)
    withExtendedLifetime(second) {}
  }

  @Test func aChangeStillRunningIsNotStartedAgainAndIsAnsweredOnTheNewConnection() throws {
    let pair = Pair()
    pair.recorder.state.withLock { $0.answersAtOnce = false }
    let first = pair.connect()
    let answers = pair.ask(directory)
    #expect(eventually { pair.recorder.count == 1 })
    first.client.cut()
    #expect(eventually { !pair.client.isOnline && !pair.exporter.isOnline })
    let second = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let exchange = try #require(pair.recorder.state.withLock { $0.served.first?.exchange })
    exchange.reply(Frame.reply(to: exchange.header))
    #expect(eventually { answers.replies.count == 1 })
    #expect(pair.recorder.count == 1)
    withExtendedLifetime(second) {}
  }

  @Test func aRequestThatChangesNothingIsDoneAgain() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    first.exporter.fallSilent()
    let answers = pair.ask(look)
    #expect(eventually { pair.recorder.count == 1 })
    first.client.cut()
    #expect(eventually { !pair.client.isOnline && !pair.exporter.isOnline })
    let second = pair.connect()
    #expect(eventually { answers.replies.count == 1 })
    #expect(pair.recorder.count == 2)
    withExtendedLifetime(second) {}
  }

  @Test func whenTheExporterHasForgottenTheSessionUnansweredChangesFail() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    first.exporter.fallSilent()
    let (change, question) = (pair.ask(directory), pair.ask(look))
    #expect(eventually { pair.recorder.count == 2 })
    first.client.cut()
    #expect(eventually { !pair.client.isOnline })
    let restarted = Session(.init(identity: Pair.identity), responder: pair.recorder)
    let (one, other) = MemoryLink.pair()
    pair.client.connect(one)
    restarted.connect(other)
    #expect(eventually { change.replies.first?.error == .ioError })
    #expect(eventually { question.replies.count == 1 && question.replies.first?.error == nil })
    withExtendedLifetime((one, other)) {}
  }

  @Test func afterTheTimeoutEverythingFailsUntilThePeerIsBack() {
    let pair = Pair(timeout: 20)
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    first.client.fallSilent()
    first.exporter.fallSilent()
    let waiting = pair.ask(look)
    // The first takes note of what was heard before.
    for _ in 0..<20 { pair.client.tick(1) }
    #expect(pair.client.status == .offline)
    #expect(waiting.replies.isEmpty)
    pair.client.tick(1)
    #expect(pair.client.status == .expired)
    #expect(waiting.replies.first?.error == .ioError)
    let late = pair.ask(look)
    #expect(late.replies.first?.error == .ioError)
    let second = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let answers = pair.ask(look)
    #expect(eventually { answers.replies.first.map { $0.error == nil } ?? false })
    withExtendedLifetime(second) {}
  }

  @Test func aLongSleepCountsAsOneSecond() {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.client.isOnline })
    pair.client.tick(3600)
    #expect(pair.client.isOnline)
    withExtendedLifetime(links) {}
  }

  @Test func anAbandonedRequestIsNotCompleted() {
    let pair = Pair()
    pair.recorder.state.withLock { $0.answersAtOnce = false }
    let links = pair.connect()
    let (abandoned, other) = (pair.ask(look), pair.ask(look))
    #expect(eventually { pair.recorder.count == 2 })
    pair.client.abandon(abandoned.ticket)
    for (_, exchange) in pair.recorder.state.withLock({ $0.served }) { exchange.fail(.ioError) }
    #expect(eventually { other.replies.count == 1 })
    #expect(abandoned.replies.isEmpty)
    withExtendedLifetime(links) {}
  }

  @Test func moreRequestsThanSlotsWaitForTheirTurn() {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.client.isOnline })
    let answers = (0..<3000).map { _ in pair.ask(look) }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 && $0.replies[0].error == nil } })
    withExtendedLifetime(links) {}
  }

  @Test func endingTellsThePeerAndClosesWhatItHadOpen() {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.exporter.isOnline && pair.client.isOnline })
    pair.client.end()
    #expect(eventually { pair.exporter.status == .over })
    #expect(eventually { pair.recorder.state.withLock { $0.ends } == 1 })
    #expect(pair.ask(look).replies.first?.error == .ioError)
    withExtendedLifetime(links) {}
  }

  @Test func aHelloOfAnotherSessionEndsTheConnection() {
    let pair = Pair()
    let stranger = Session(.init(identity: [UInt8](repeating: 8, count: 16)))
    let (one, other) = MemoryLink.pair()
    pair.exporter.connect(one)
    stranger.connect(other)
    #expect(eventually { stranger.status == .offline && pair.exporter.status == .offline })
    #expect(!pair.exporter.isOnline)
    withExtendedLifetime((one, other)) {}
  }
}

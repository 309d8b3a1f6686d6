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

@Suite struct SessionTests {
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

/// Frames made by hand, sent to a real session.
@Suite struct HostileClientTests {
  private func attack(_ frames: [(Frame, Lane)]) -> (
    exporter: Session, recorder: Recorder, links: (MemoryLink, MemoryLink)
  ) {
    let recorder = Recorder()
    let exporter = Session(.init(identity: Pair.identity, grantedWriteCredit: 1 << 16), responder: recorder)
    let (one, other) = MemoryLink.pair()
    exporter.connect(one)
    let hello = Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0)
    other.send(hello.encoded(), on: .control)
    for (frame, lane) in frames { other.send(frame, on: lane) }
    return (exporter, recorder, (one, other))
  }

  @Test(arguments: [[], [1], [9, 0, 0], [2, 1, 0, 0, 0, 0, 0, 0, 1], [UInt8](repeating: 0xff, count: 16)])
  func brokenFramesEndTheConnection(bytes: [UInt8]) {
    let outcome = attack([(Frame(copying: bytes), .control)])
    #expect(eventually { outcome.exporter.status == .offline })
    #expect(outcome.recorder.count == 0)
  }

  @Test func aSlotBeyondTheLastEndsTheConnection() {
    let frame = look.encoded()
    frame.number(1 << 16 | 5000)
    let outcome = attack([(frame, .control)])
    #expect(eventually { outcome.exporter.status == .offline })
    #expect(outcome.recorder.count == 0)
  }

  @Test func aRepeatedOrEarlierRequestIsNotDoneAgain() {
    let frames = [2, 2, 1, 3].map { (count: UInt64) in
      let frame = directory.encoded()
      frame.number(count << 16)
      return (frame, Lane.control)
    }
    let outcome = attack(frames)
    #expect(eventually { outcome.recorder.count == 2 })
    #expect(outcome.exporter.isOnline)
  }

  @Test func moreDataThanTheCreditEndsTheConnection() {
    let recorderKeeps = (1...8).map { (slot: UInt64) in
      let frame = Request.writeFrame(Handle(rawValue: 1), offset: 0, count: Limits.Wire.data)
      frame.count += Limits.Wire.data
      frame.number(1 << 16 | slot)
      return (frame, Lane.bulk)
    }
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let exporter = Session(.init(identity: Pair.identity, grantedWriteCredit: 1 << 16), responder: recorder)
    let (one, other) = MemoryLink.pair()
    exporter.connect(one)
    other.send(
      Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
      on: .control)
    for (frame, lane) in recorderKeeps { other.send(frame, on: lane) }
    #expect(eventually { recorder.count >= 2 && exporter.status == .offline })
    withExtendedLifetime((one, other)) {}
  }

  @Test func readsThatAreNeverDrainedWait() {
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let exporter = Session(.init(identity: Pair.identity), responder: recorder)
    let (one, other) = MemoryLink.pair()
    exporter.connect(one)
    other.send(
      Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
      on: .control)
    for slot in 0..<100 as Range<UInt64> {
      let frame = Request.read(Handle(rawValue: 1), offset: 0, count: UInt32(Limits.Wire.read)).encoded()
      frame.number(1 << 16 | slot)
      other.send(frame, on: .control)
    }
    #expect(eventually { recorder.count >= 2 })
    usleep(50_000)
    #expect(recorder.count <= Limits.Session.backlog / Limits.Wire.read + 1)
    withExtendedLifetime((one, other)) {}
  }

  /// A link whose peer takes nothing: every message counts as a megabyte that stays queued.
  private final class StuckLink: Link {
    private let state = Mutex<(receiver: (any LinkReceiver)?, sent: Int, isClosed: Bool)>((nil, 0, false))
    let lastHeard = Instant(nanoseconds: 0)
    let isFailing = false
    func send(_ frame: Frame, on lane: Lane) { state.withLock { $0.sent += 1 } }
    var backlog: Int { state.withLock { $0.sent << 20 } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) { opened(nil) }
    func close() { state.withLock { $0.isClosed = true } }
    func closed() async { close() }
    func attach(_ receiver: any LinkReceiver) { state.withLock { $0.receiver = receiver } }
    func deliver(_ frame: Frame) { state.withLock { $0.receiver }?.received(frame, on: .control) }
  }

  @Test func aPeerThatAsksOnAndTakesNoAnswerIsCutOff() {
    let exporter = Session(.init(identity: Pair.identity), responder: Recorder())
    let link = StuckLink()
    exporter.connect(link)
    link.deliver(
      Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded())
    #expect(exporter.isOnline)
    var answered = 0
    while !link.isClosed, answered < 1_000 {
      link.deliver(Session.message(.ping, sequence: 1))
      answered += 1
    }
    #expect(link.isClosed && answered <= Limits.Session.backlog >> 20)
    #expect(!exporter.isOnline)
  }

  /// A link whose peer is gone the moment that it hears of the end.
  private final class HastyLink: Link {
    private let receiver = Mutex<(any LinkReceiver)?>(nil)
    private let goodbyes = Atomic<Int>(0)
    let lastHeard = Instant(nanoseconds: 0)
    let isFailing = false
    let backlog = 0
    func send(_ frame: Frame, on lane: Lane) {
      var reader = Reader(frame)
      guard let header = try? Header(&reader), header.kind == .goodbye else { return }
      goodbyes.add(1, ordering: .relaxed)
      receiver.withLock { $0 }?.lost()
    }
    var heardGoodbye: Bool { goodbyes.load(ordering: .relaxed) == 1 }
    func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) { opened(nil) }
    func close() {}
    func closed() async {}
    func attach(_ receiver: any LinkReceiver) {
      self.receiver.withLock { $0 = receiver }
      receiver.received(
        Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
        on: .control)
    }
  }

  @Test func aSessionThatIsEndedIsOverWithoutHavingBeenOffline() {
    let session = Session(.init(identity: Pair.identity))
    let states = Mutex<[SessionState]>([])
    session.observe { state in states.withLock { $0.append(state) } }
    let link = HastyLink()
    session.connect(link)
    session.end()
    #expect(link.heardGoodbye)
    #expect(states.withLock { $0 } == [.online, .over])
  }

  /// Requests of `count` bytes, each in a slot of its own, that are none of the kind that is looked into.
  private func requests(_ number: Int, of count: Int) -> [(Frame, Lane)] {
    (0..<UInt64(number)).map { slot in
      let frame = Frame(capacity: count)
      Header(kind: .request, operation: Operation.lookup.rawValue, sequence: 1 << 16 | slot).write(to: frame)
      frame.spare.initializeMemory(as: UInt8.self, repeating: 0)
      frame.count = count
      return (frame, .control)
    }
  }

  @Test func requestsCountByTheirBytesWhetherTheyWaitOrAreDone() {
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let exporter = Session(.init(identity: Pair.identity), responder: recorder)
    let (one, other) = MemoryLink.pair()
    exporter.connect(one)
    other.send(
      Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
      on: .control)
    for (frame, lane) in requests(Limits.Session.requests, of: 60_000) { other.send(frame, on: lane) }
    #expect(eventually { exporter.status == .offline })
    #expect(recorder.count <= Limits.Session.requestBytes / 60_000)
    withExtendedLifetime((one, other)) {}
  }

  @Test func parkedReadsCountByTheirBytes() {
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let exporter = Session(.init(identity: Pair.identity), responder: recorder)
    let (one, other) = MemoryLink.pair()
    exporter.connect(one)
    other.send(
      Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
      on: .control)
    for slot in 0..<UInt64(Limits.Session.requests) {
      let frame = Frame(capacity: 60_000)
      Header(kind: .request, operation: Operation.read.rawValue, sequence: 1 << 16 | slot).write(to: frame)
      // What it asks for stands in its last bytes.
      frame.spare.initializeMemory(as: UInt8.self, repeating: 0xff)
      frame.count = 60_000
      other.send(frame, on: .control)
    }
    #expect(eventually { exporter.status == .offline })
    #expect(exporter.state.withLock { $0.admission.parked.isEmpty })
    withExtendedLifetime((one, other)) {}
  }

  @Test func whatAPeerLeavesBehindDoesNotAddUp() {
    // A disk that hangs, and a peer that comes again and again, each time as if it had been started anew.
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let exporter = Session(.init(identity: Pair.identity, grantedWriteCredit: 1 << 17), responder: recorder)
    for instance in 1...20 as ClosedRange<UInt64> {
      let (one, other) = MemoryLink.pair()
      exporter.connect(one)
      other.send(
        Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: instance, machine: 0)
          .encoded(),
        on: .control)
      #expect(eventually { exporter.isOnline })
      for slot in 0..<4 as Range<UInt64> {
        let frame = Request.writeFrame(Handle(rawValue: 1), offset: 0, count: Limits.Wire.data)
        frame.count += Limits.Wire.data
        frame.number(1 << 16 | slot)
        other.send(frame, on: .bulk)
      }
      #expect(eventually { exporter.state.withLock { $0.admission.bytesHere.data == 1 << 17 } })
      #expect(exporter.state.withLock { $0.admission.executingBytes.data <= 1 << 17 })
      other.cut()
      #expect(eventually { !exporter.isOnline })
      withExtendedLifetime((one, other)) {}
    }
    #expect(recorder.count == 4)
  }

  @Test func anHonestClientWithLongPathsNeverMeetsTheBound() throws {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.client.isOnline })
    let component = [UInt8](repeating: 97, count: 250)
    let long = try Path(Array([[UInt8]](repeating: component, count: 16).joined(separator: [47])))
    let answers = (0..<2_000).map { _ in pair.ask(.rename(long, to: long, .replace)) }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 && $0.replies[0].error == nil } })
    #expect(pair.exporter.state.withLock { $0.admission.isIdle })
    withExtendedLifetime(links) {}
  }
}

import P2PFSCore
import Glibc
import Rig
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSSession

/// Frames made by hand, sent to a real session.
@Suite(.onThreads) struct HostileClientTests {
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

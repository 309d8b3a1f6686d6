import P2PFSCore
import Glibc
import Rig
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSSession

/// What a change of the connection must not break.
@Suite(.onThreads) struct ReconnectionTests {
  private func open(_ number: UInt64) -> Frame {
    Request.open(Handle(rawValue: number), .root, .read, prefetch: UInt32(Limits.Wire.read)).encoded()
  }

  @Test func anOpenThatWaitedWhenTheConnectionBrokeIsDoneOnTheNext() {
    let pair = Pair()
    pair.recorder.state.withLock { $0.answersAtOnce = false }
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let answers = (1...10).map { number in
      let answers = Answers()
      pair.client.send(open(UInt64(number)), on: .control) { answers.add($0) }
      return answers
    }
    // Their answers could fill the backlog, so that the later ones wait.
    #expect(eventually { pair.exporter.state.withLock { !$0.admission.parked.isEmpty } })
    #expect(pair.recorder.count < 10)
    first.client.cut()
    #expect(eventually { !pair.client.isOnline && !pair.exporter.isOnline })
    let second = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    pair.recorder.state.withLock { $0.answersAtOnce = true }
    for (_, exchange) in pair.recorder.state.withLock({ $0.served }) {
      exchange.reply(Frame.reply(to: exchange.header))
    }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 } })
    #expect(pair.recorder.count == 10)
    withExtendedLifetime(second) {}
  }

  @Test func whatEarlierConnectionsLeftRunningDoesNotEndTheNext() {
    let pair = Pair()
    pair.recorder.state.withLock { $0.answersAtOnce = false }
    var links = pair.connect()
    let answers = (0..<700).map { _ in pair.ask(look) }
    #expect(eventually { pair.recorder.count == 700 })
    for _ in 0..<3 {
      links.client.cut()
      #expect(eventually { !pair.client.isOnline && !pair.exporter.isOnline })
      links = pair.connect()
      #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    }
    usleep(100_000)
    #expect(pair.client.isOnline && pair.exporter.isOnline)
    // What runs stays within the bound, whatever is asked again.
    #expect(pair.recorder.count <= Limits.Session.requests)
    pair.recorder.state.withLock { $0.answersAtOnce = true }
    for (_, exchange) in pair.recorder.state.withLock({ $0.served }) {
      exchange.reply(Frame.reply(to: exchange.header))
    }
    #expect(eventually { answers.allSatisfy { $0.replies.count == 1 } })
    pair.exporter.state.withLock { state in
      #expect(state.admission.isIdle)
    }
    withExtendedLifetime(links) {}
  }

  @Test func aPeerThatConnectsAndNeverGreetsIsGivenUp() {
    let session = Session(.init(identity: Pair.identity, timeout: 15))
    let (one, other) = MemoryLink.pair()
    session.connect(one)
    let answers = Answers()
    session.send(look.encoded(), on: .control) { answers.add($0) }
    for _ in 0..<20 {
      // It lives, but says nothing of use.
      other.send(Session.message(.ping), on: .control)
      session.tick(1)
    }
    #expect(session.state.withLock { $0.phase.link == nil && $0.phase.next == nil })
    #expect(session.status == .expired)
    #expect(answers.replies.first?.error == .ioError)
  }

  @Test func whatAReplacedConnectionStillBringsDoesNotDisturbTheNew() {
    let pair = Pair()
    let first = pair.connect()
    #expect(eventually { pair.client.isOnline && pair.exporter.isOnline })
    let second = pair.connect()
    #expect(eventually { pair.client.state.withLock { $0.phase.link === second.client } })
    let hello = Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0)
      .encoded()
    for frame in [hello, Frame(copying: [9, 9, 9])] { pair.client.received(frame, on: .control, from: first.client) }
    #expect(pair.client.isOnline && pair.client.state.withLock { $0.phase.link === second.client })
    let answers = pair.ask(look)
    #expect(eventually { answers.replies.count == 1 })
    withExtendedLifetime((first, second)) {}
  }

  @Test func aResponderIsEndedOnce() {
    let pair = Pair()
    let links = pair.connect()
    #expect(eventually { pair.exporter.isOnline })
    pair.exporter.end()
    pair.client.end()
    pair.exporter.suspend()
    #expect(pair.recorder.state.withLock { $0.ends } == 1)
    withExtendedLifetime(links) {}
  }

  @Test func aPeerThatWasStartedAgainGetsNoAnswerToWhatItAskedBefore() throws {
    let recorder = Recorder()
    recorder.state.withLock { $0.answersAtOnce = false }
    let side = Session(.init(identity: Pair.identity), responder: recorder)
    let before = Session(.init(identity: Pair.identity))
    let first = MemoryLink.pair()
    side.connect(first.0)
    before.connect(first.1)
    before.send(directory.encoded(), on: .control) { _ in }
    #expect(eventually { recorder.count == 1 })
    first.0.cut()
    #expect(eventually { !side.isOnline })
    let after = Session(.init(identity: Pair.identity))
    let second = MemoryLink.pair()
    side.connect(second.0)
    after.connect(second.1)
    let answers = Answers()
    after.send(directory.encoded(), on: .control) { answers.add($0) }
    #expect(eventually { recorder.count == 2 })
    let exchanges = recorder.state.withLock { $0.served.map(\.exchange) }
    exchanges[0].fail(.permissionDenied)
    exchanges[1].reply(Frame.reply(to: exchanges[1].header))
    #expect(eventually { answers.replies.count == 1 })
    #expect(answers.replies.first?.error == nil)
    withExtendedLifetime((first, second)) {}
  }

  @Test func aPeerThatWasGreetedOnOneSideOnlyIsNoStranger() {
    let pair = Pair()
    let first = MemoryLink.pair()
    // The exporter's hello arrives, ours does not.
    first.0.fallSilent()
    pair.exporter.connect(first.1)
    pair.client.connect(first.0)
    #expect(eventually { pair.client.isOnline } && !pair.exporter.isOnline)
    let answers = pair.ask(directory)
    let second = pair.connect()
    #expect(eventually { answers.replies.count == 1 })
    #expect(answers.replies.first?.error == nil && pair.recorder.count == 1)
    withExtendedLifetime((first, second)) {}
  }

  /// Serves each request a little later, on a thread of its own, and counts.
  private final class Clerk: Responder {
    struct State {
      var waiting: [Exchange] = []
      var done: [UInt64: Int] = [:]
      var isOver = false
    }
    let state = Mutex(State())
    let isReadOnly = false

    func serve(_ request: Frame, _ exchange: Exchange) {
      state.withLock { state in
        // A `mkdir` carries its number as the mode, in front of the umask.
        if exchange.header.operation == Operation.mkdir.rawValue {
          let number = (request.base + request.count - 8).loadUnaligned(as: UInt32.self)
          state.done[UInt64(number), default: 0] += 1
        }
        state.waiting.append(exchange)
      }
    }

    func end() { state.withLock { $0.isOver = true } }

    func work() {
      while true {
        let (exchange, isOver) = state.withLock { state in
          (state.waiting.isEmpty ? nil : state.waiting.remove(at: .random(in: state.waiting.indices)), state.isOver)
        }
        if let exchange {
          exchange.reply(Frame.reply(to: exchange.header))
          if Int.random(in: 0..<8) == 0 { usleep(100) }
        } else if isOver {
          return
        } else {
          usleep(200)
        }
      }
    }
  }

  /// How often each request was completed.
  private final class Tally: Sendable {
    let state: Mutex<(completions: [Int], failures: Int)>
    init(_ total: Int) { state = Mutex(([Int](repeating: 0, count: total), 0)) }

    var isIncomplete: Bool { state.withLock { $0.completions.contains(0) } }

    func count(_ index: Int, _ reply: Reply) {
      let isFailure = reply.error != nil
      state.withLock { state in
        state.completions[index] += 1
        if isFailure { state.failures += 1 }
      }
    }
  }

  @Test func throughManyCutsEachChangeHappensOnceAndEachRequestCompletesOnce() async {
    let clerk = Clerk()
    let client = Session(.init(identity: Pair.identity))
    let exporter = Session(.init(identity: Pair.identity), responder: clerk)
    let total = 4_000
    let tally = Tally(total)
    await withTaskGroup(of: Void.self) { group in
      group.addTask { clerk.work() }
      group.addTask {
        for index in 0..<total {
          let request = index.isMultiple(of: 3) ? look : Request.mkdir(Path.root, mode: UInt32(index % 512))
          client.send(request.encoded(), on: index.isMultiple(of: 5) ? .bulk : .control) { reply in
            tally.count(index, reply)
          }
          if index.isMultiple(of: 40) { usleep(2_000) }
        }
      }
      group.addTask {
        var kept: [(MemoryLink, MemoryLink)] = []
        for round in 0..<2_000 where tally.isIncomplete {
          let pair = MemoryLink.pair()
          if Bool.random() {
            client.connect(pair.0)
            exporter.connect(pair.1)
          } else {
            exporter.connect(pair.1)
            client.connect(pair.0)
          }
          kept.append(pair)
          if kept.count > 4 { kept.removeFirst() }
          usleep(.random(in: 100...20_000))
          guard tally.isIncomplete else { break }
          switch round % 4 {
          case 0: pair.0.cut()
          case 1: pair.1.fallSilent()
          case 2: client.lost(pair.0)
          default: break
          }
        }
        _ = eventually { !tally.isIncomplete }
        client.end()
        exporter.end()
      }
    }
    #expect(tally.state.withLock { $0.completions.allSatisfy { $0 == 1 } })
    #expect(tally.state.withLock { $0.failures } == 0)
    var expected: [UInt64: Int] = [:]
    for index in 0..<total where !index.isMultiple(of: 3) { expected[UInt64(index % 512), default: 0] += 1 }
    #expect(clerk.state.withLock { $0.done } == expected)
    exporter.state.withLock { #expect($0.admission.isIdle) }
  }
}

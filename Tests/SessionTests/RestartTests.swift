import P2PFSCore
import Glibc
import Rig
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSSession

/// A peer whose program is started again.
@Suite(.onThreads) struct RestartTests {
  /// Remembers whatever it is told to.
  private final class Memory: SlotMemory {
    let remembers: Bool
    let machine: UInt64
    let kept = Mutex<[UInt64]>([])
    let instances = Mutex<[UInt64]>([])
    init(remembers: Bool, machine: UInt64 = 1) { (self.remembers, self.machine) = (remembers, machine) }
    func greeted(by instance: UInt64) { instances.withLock { $0.append(instance) } }
    func keep(_ reply: Frame, to request: Header) { kept.withLock { $0.append(request.sequence) } }
  }

  /// A responder with a memory.
  private final class Exporter: Responder {
    let recorder = Recorder()
    let memory: (any SlotMemory)?
    let isReadOnly = false
    let suspensions = Atomic<Int>(0)
    init(_ memory: Memory) { self.memory = memory }
    func serve(_ request: Frame, _ exchange: Exchange) { recorder.serve(request, exchange) }
    func end() { recorder.end() }
    func suspend() { suspensions.add(1, ordering: .relaxed) }
    var requests: [UInt64] { recorder.state.withLock { $0.served.map(\.exchange.header.sequence) } }
  }

  private func reopen(_ number: UInt64) -> Frame {
    Request.reopen(
      Handle(rawValue: number), .root, .read, FileIdentity(device: 0, inode: number, generation: 0)
    ).encoded()
  }

  private func connect(_ client: Session, _ exporter: Session) -> (MemoryLink, MemoryLink) {
    let links = MemoryLink.pair()
    client.connect(links.0)
    exporter.connect(links.1)
    return links
  }

  @Test(arguments: [true, false]) func `what is put right comes before what waits`(_ remembers: Bool) {
    let client = Session(.init(identity: Pair.identity))
    let restarts = Mutex<[PeerRestart]>([])
    let reopened = Atomic<Int>(0)
    client.onRestart { restart in
      restarts.withLock { $0.append(restart) }
      return (1...200).map { number in
        RecoveryRequest(reopen(number)) { _ in reopened.add(1, ordering: .relaxed) }
      }
    }
    let first = Exporter(Memory(remembers: false))
    first.recorder.state.withLock { $0.answersAtOnce = false }
    let before = Session(.init(identity: Pair.identity), responder: first)
    let links = connect(client, before)
    #expect(eventually { client.isOnline && before.isOnline })
    let (change, query) = (Answers(), Answers())
    client.send(directory.encoded(), on: .control) { change.add($0) }
    client.send(look.encoded(), on: .control) { query.add($0) }
    #expect(eventually { first.recorder.count == 2 })
    before.suspend()
    #expect(eventually { !client.isOnline })
    #expect(first.suspensions.load(ordering: .relaxed) == 1 && first.recorder.state.withLock { $0.ends } == 0)

    let memory = Memory(remembers: remembers, machine: remembers ? 1 : 2)
    let second = Exporter(memory)
    let after = Session(.init(identity: Pair.identity), responder: second)
    let more = connect(client, after)
    #expect(eventually { query.replies.count == 1 && change.replies.count == 1 })
    #expect(change.replies.first?.error == (remembers ? nil : .ioError))
    #expect(reopened.load(ordering: .relaxed) == 200)
    let operations = second.recorder.operations
    #expect(operations.prefix(200).allSatisfy { $0 == Operation.reopen.rawValue })
    #expect(
      Array(operations.dropFirst(200))
        == (remembers ? [Operation.mkdir.rawValue] : []) + [Operation.lookup.rawValue])
    // It has the number that it had, by which it is recognised.
    if remembers { #expect(second.requests[200] == first.requests[0]) }
    #expect(restarts.withLock { $0 } == [PeerRestart(remembers: remembers, isOtherMachine: !remembers)])
    #expect(memory.kept.withLock { $0.count } == (remembers ? 201 : 200))
    #expect(memory.instances.withLock { $0.count } == 1)
    withExtendedLifetime((links, more)) {}
  }

  @Test func `what the end of a program cuts off is not remembered as refused`() {
    let client = Session(.init(identity: Pair.identity))
    let memory = Memory(remembers: false)
    let first = Exporter(memory)
    first.recorder.state.withLock { $0.answersAtOnce = false }
    let before = Session(.init(identity: Pair.identity), responder: first)
    let links = connect(client, before)
    #expect(eventually { client.isOnline && before.isOnline })
    let answers = Answers()
    for _ in 0..<2 { client.send(directory.encoded(), on: .control) { answers.add($0) } }
    #expect(eventually { first.recorder.count == 2 })
    let exchanges = first.recorder.state.withLock { $0.served.map(\.exchange) }
    exchanges[0].reply(Frame.reply(to: exchanges[0].header))
    before.suspend()
    exchanges[1].fail(.ioError)
    #expect(memory.kept.withLock { $0 } == [exchanges[0].header.sequence])
    withExtendedLifetime(links) {}
  }

  @Test func `what was never sent and speaks of names is made by a program that remembers nothing`() {
    let client = Session(.init(identity: Pair.identity))
    let first = Exporter(Memory(remembers: false))
    first.recorder.state.withLock { $0.answersAtOnce = false }
    let before = Session(.init(identity: Pair.identity), responder: first)
    let links = connect(client, before)
    #expect(eventually { client.isOnline && before.isOnline })
    let (sent, names, handle, query) = (Answers(), Answers(), Answers(), Answers())
    client.send(directory.encoded(), on: .control) { sent.add($0) }
    #expect(eventually { first.recorder.count == 1 })
    before.suspend()
    #expect(eventually { !client.isOnline })
    // While it is away, and more than there are slots.
    for _ in 0..<1_100 { client.send(directory.encoded(), on: .control) { names.add($0) } }
    client.send(Request.flush(Handle(rawValue: 1)).encoded(), on: .control) { handle.add($0) }
    client.send(look.encoded(), on: .control) { query.add($0) }

    let second = Exporter(Memory(remembers: false))
    let after = Session(.init(identity: Pair.identity), responder: second)
    let more = connect(client, after)
    #expect(eventually { names.replies.count == 1_100 && query.replies.count == 1 })
    #expect(names.replies.allSatisfy { $0.error == nil } && query.replies.first?.error == nil)
    // Nobody knows whether this one was made, and that one is of a file that is not open any more.
    #expect(sent.replies.map(\.error) == [.ioError] && handle.replies.map(\.error) == [.ioError])
    #expect(second.recorder.operations.filter { $0 == Operation.mkdir.rawValue }.count == 1_100)
    #expect(!second.recorder.operations.contains(Operation.flush.rawValue))

    // Sent once, it is not made again by the next one.
    second.recorder.state.withLock { $0.answersAtOnce = false }
    let again = Answers()
    client.send(directory.encoded(), on: .control) { again.add($0) }
    #expect(eventually { second.recorder.count == 1_102 })
    after.suspend()
    #expect(eventually { !client.isOnline })
    let third = Session(.init(identity: Pair.identity), responder: Exporter(Memory(remembers: false)))
    let last = connect(client, third)
    #expect(eventually { again.replies.map(\.error) == [.ioError] })
    withExtendedLifetime((links, more, last)) {}
  }

  @Test func `a connection that breaks while it is put right begins anew`() {
    let client = Session(.init(identity: Pair.identity))
    let asked = Atomic<Int>(0)
    let answered = Atomic<Int>(0)
    client.onRestart { _ in
      asked.add(1, ordering: .relaxed)
      return (1...3).map { RecoveryRequest(reopen($0)) { _ in answered.add(1, ordering: .relaxed) } }
    }
    let first = Session(.init(identity: Pair.identity), responder: Exporter(Memory(remembers: false)))
    var links = connect(client, first)
    #expect(eventually { client.isOnline })
    first.suspend()
    #expect(eventually { !client.isOnline })
    let exporter = Exporter(Memory(remembers: true))
    exporter.recorder.state.withLock { $0.answersAtOnce = false }
    let second = Session(.init(identity: Pair.identity), responder: exporter)
    links = connect(client, second)
    #expect(eventually { exporter.recorder.count == 3 })
    #expect(!client.isOnline && !client.isBeingGreeted && client.status == .offline)
    let answers = Answers()
    client.send(look.encoded(), on: .control) { answers.add($0) }
    // It is connected: no time runs out.
    for _ in 0..<10 {
      let before = links.0.lastHeard
      client.ping(links.0)
      #expect(eventually { links.0.lastHeard > before })
      client.tick(1)
    }
    #expect(client.status == .offline && client.state.withLock { !$0.isNeeded })
    links.0.cut()
    #expect(eventually { !second.isOnline })
    // Whoever makes connections is told, though the session was not online in between.
    #expect(eventually { client.needsConnection && client.state.withLock { $0.isNeeded } })
    links = connect(client, second)
    #expect(eventually { exporter.recorder.count == 6 })
    #expect(asked.load(ordering: .relaxed) == 2 && answers.replies.isEmpty)
    exporter.recorder.state.withLock { $0.answersAtOnce = true }
    for (_, exchange) in exporter.recorder.state.withLock({ $0.served }).suffix(3) {
      exchange.reply(Frame.reply(to: exchange.header))
    }
    #expect(eventually { answers.replies.count == 1 && client.isOnline })
    #expect(answered.load(ordering: .relaxed) == 3)
    // And that is all: the next connection to the same program asks for nothing.
    links.0.cut()
    #expect(eventually { !client.isOnline && !second.isOnline })
    links = connect(client, second)
    #expect(eventually { client.isOnline })
    #expect(asked.load(ordering: .relaxed) == 2)
    withExtendedLifetime(links) {}
  }
}

/// The slots that are kept for it.
@Suite(.onThreads) struct RecoveryTests {
  private func request(_ number: UInt64) -> RecoveryRequest {
    RecoveryRequest(Request.flush(Handle(rawValue: number)).encoded()) { _ in }
  }
  private func header(_ frame: Frame) throws -> Header {
    var reader = Reader(frame)
    var header = try Header(&reader)
    header.kind = .reply
    return header
  }

  @Test func `as many are under way as there are slots, and each answer lets in the next`() throws {
    var recovery = Recovery()
    recovery.begin((0..<100).map { request($0) }, requests: 1_024)
    var sent: [Header] = []
    while let frame = recovery.next() { sent.append(try header(frame)) }
    #expect(sent.count == Limits.Session.recovery)
    #expect(Set(sent.map { SlotTable.slot(of: $0.sequence) }) == Set(960..<1_024))
    #expect(recovery.completion(for: sent[0]) != nil && recovery.completion(for: sent[0]) == nil)
    let following = recovery.next()
    let next = try header(#require(following))
    #expect(next.sequence == sent[0].sequence + 1 << 16)
    #expect(!recovery.isDone && recovery.next() == nil)
    // What comes from before is not taken for an answer.
    recovery.begin([request(1)], requests: 1_024)
    #expect(recovery.completion(for: next) == nil)
    let final = recovery.next()
    let last = try header(#require(final))
    #expect(recovery.completion(for: last) != nil && recovery.isDone)
  }

  @Test func `a peer that takes few requests at once is not recovered`() {
    var recovery = Recovery()
    recovery.begin([request(1)], requests: 10)
    #expect(recovery.isDone && recovery.next() == nil && Recovery.others(of: 10) == 10)
  }
}

import P2PFSCore
import P2PFSWire
import Rig
import Synchronization
import Testing

@testable import P2PFSSession

/// Two sessions on two computers of a simulated network, whose connections are lost, doubled and late, and who connects
/// them again. Everything is done by the test's thread, in the network's time.
private final class Relation: @unchecked Sendable {
  let network: SimulatedNetwork
  let client: Session
  let exporter: Session
  let clerk: Clerk
  private(set) var links: [(SimulatedLink, SimulatedLink)] = []
  /// Whether somebody is on the way to connect them.
  private var isConnecting = false

  init(seed: UInt64) {
    network = SimulatedNetwork(seed: seed)
    clerk = Clerk(network)
    client = Session(.init(identity: Pair.identity, timeout: 100_000, clock: network.clock))
    exporter = Session(.init(identity: Pair.identity, timeout: 100_000, clock: network.clock), responder: clerk)
    for session in [client, exporter] { count(session, Limits.Session.shortTick) }
    connect()
    drive()
  }

  private func count(_ session: Session, _ step: Double) {
    network.after(step) { [self] in
      let next = session.tick(step)
      if session.status != .over { count(session, next) }
    }
  }

  /// Makes a connection, which one side knows of before the other, and sometimes the other never.
  func connect() {
    let pair = SimulatedLink.pair(network)
    links.append(pair)
    if links.count > 4 { links.removeFirst() }
    let isFirst = Bool.random(using: &network.random)
    let lag = Double.random(in: 0...0.1, using: &network.random)
    network.after(isFirst ? 0 : lag) { [self] in client.connect(pair.0) }
    network.after(isFirst ? lag : 0) { [self] in exporter.connect(pair.1) }
  }

  /// As the guest does: another connection when one is wanted, a while later.
  private func drive() {
    network.after(0.1) { [self] in
      guard client.status != .over else { return }
      if client.needsConnection, !isConnecting {
        isConnecting = true
        network.after(Double.random(in: 0.2...1.5, using: &network.random)) { [self] in
          isConnecting = false
          connect()
        }
      }
      drive()
    }
  }

  /// Has something go wrong now and then.
  func disturb() {
    network.after(Double.random(in: 0.05...1, using: &network.random)) { [self] in
      guard client.status != .over else { return }
      let pair = links.randomElement(using: &network.random)
      switch Int.random(in: 0..<10, using: &network.random) {
      case 0:
        pair?.0.fail()
        pair?.1.fail()
      case 1: pair?.0.fail()
      case 2: pair?.1.fail()
      case 3: connect()
      case 4: outage(Double.random(in: 0.1...12, using: &network.random), both: true)
      case 5: outage(Double.random(in: 0.1...12, using: &network.random), both: false)
      case 6: network.changePaths { $0.bursts = .init(begin: 0.05, end: 0.2, loss: 0.8) }
      case 7: network.changePaths { path in (path.jitter, path.duplication) = (0.08, 0.1) }
      case 8: network.changePaths { path in (path.loss, path.rate, path.queue) = (0.05, 300_000, 40_000) }
      default: network.changePaths { $0.isUp ? $0 = SimulatedPath() : () }
      }
      disturb()
    }
  }

  private func outage(_ seconds: Double, both: Bool) {
    let sides = both ? [0, 1] : [Int.random(in: 0...1, using: &network.random)]
    for side in sides { network.paths[side].isUp = false }
    network.after(seconds) { [self] in for side in sides { network.paths[side].isUp = true } }
  }
}

/// Serves each request a little later, in any order, and counts the changes.
private final class Clerk: Responder, @unchecked Sendable {
  private let network: SimulatedNetwork
  let isReadOnly = false
  /// How often each change was made, by its number.
  private(set) var done: [UInt32: Int] = [:]

  init(_ network: SimulatedNetwork) { self.network = network }

  func serve(_ request: Frame, _ exchange: Exchange) {
    if exchange.header.operation == Operation.mkdir.rawValue {
      // It carries its number as the mode, in front of the umask.
      done[(request.base + request.count - 8).loadUnaligned(as: UInt32.self), default: 0] += 1
    }
    let isSlow = network.random.happens(0.02)
    let pause = Double.random(in: 0...(isSlow ? 5 : 0.01), using: &network.random)
    network.after(pause) { exchange.reply(Frame.reply(to: exchange.header)) }
  }

  func end() {}
}

/// How each request ended.
private final class Tally: @unchecked Sendable {
  var completions: [Int]
  var failures = 0
  var open: Int

  init(_ total: Int) { (completions, open) = ([Int](repeating: 0, count: total), total) }

  func count(_ index: Int, _ reply: Reply) {
    if completions[index] == 0 { open -= 1 }
    completions[index] += 1
    if reply.error != nil { failures += 1 }
  }
}

/// One end of a channel whose program says what it has been given, and takes what comes.
private final class Talk: @unchecked Sendable {
  private let network: SimulatedNetwork
  private var channel: SessionChannel?
  private var rest: ArraySlice<UInt8>
  private(set) var heard: [UInt8] = []
  private(set) var isAtEnd = false
  private(set) var failure: (any Error)?

  init(_ network: SimulatedNetwork, _ said: [UInt8]) { (self.network, rest) = (network, said[...]) }

  var isComplete: Bool { channel?.isComplete ?? false }

  func begin(_ channel: SessionChannel) {
    self.channel = channel
    channel.attach(
      onReadable: { [self] in network.after(0) { self.take() } },
      onWritable: { [self] in network.after(0) { self.say() } })
    network.after(0) { [self] in
      say()
      take()
    }
  }

  private func say() {
    while let channel, !rest.isEmpty {
      let count = min(rest.count, .random(in: 1...20_000, using: &network.random))
      let piece = SessionChannel.piece(capacity: count)
      rest.prefix(count).withUnsafeBytes { piece.write($0) }
      do {
        guard try channel.send(piece) else { return }
      } catch { return failure = error }
      rest = rest.dropFirst(count)
      if rest.isEmpty { channel.finish() }
    }
  }

  private func take() {
    while let channel {
      do {
        switch try channel.receive() {
        case .nothing: return
        case .piece(let piece):
          withExtendedLifetime(piece) { heard.append(contentsOf: piece.bytes) }
          // Some programs take their time.
          let pause = network.random.happens(0.1) ? Double.random(in: 0...0.2, using: &network.random) : 0
          network.after(pause) { channel.consumed(piece) }
        case .end:
          guard !isAtEnd else { return }
          isAtEnd = true
          network.after(0.3) { channel.consumedEnd() }
          return
        }
      } catch { return failure = error }
    }
  }
}

/// Everything that a session promises, on networks that break it in any way.
@Suite struct SimulationTests {
  private static let requests = 500

  /// Asks for changes and for looks while the network is disturbed.
  /// - Returns: the network's trace.
  private func work(seed: UInt64) -> (trace: UInt64, events: Int) {
    let relation = Relation(seed: seed)
    let network = relation.network
    let tally = Tally(SimulationTests.requests)
    relation.disturb()
    func ask(_ index: Int) {
      guard index < SimulationTests.requests else { return }
      let request = index.isMultiple(of: 3) ? look : Request.mkdir(Path.root, mode: UInt32(index))
      relation.client.send(request.encoded(), on: index.isMultiple(of: 5) ? .bulk : .control) { reply in
        tally.count(index, reply)
      }
      let pause = network.random.happens(0.03) ? Double.random(in: 0...1, using: &network.random) : 0
      network.after(pause) { ask(index + 1) }
    }
    ask(0)
    #expect(network.run(for: 3_600) { tally.open == 0 }, "without an answer after an hour: \(tally.open)")
    // What still is on its way is no second answer.
    network.run(for: 10)
    #expect(tally.completions.allSatisfy { $0 == 1 })
    #expect(tally.failures == 0)
    let changes = (0..<SimulationTests.requests).filter { !$0.isMultiple(of: 3) }
    #expect(relation.clerk.done == Dictionary(uniqueKeysWithValues: changes.map { (UInt32($0), 1) }))
    #expect(relation.exporter.state.withLock { $0.admission.isIdle })
    relation.client.end()
    relation.exporter.end()
    return (network.trace, network.events)
  }

  @Test(arguments: UInt64(1)...20) func `each change happens once and each request is answered once`(seed: UInt64) {
    _ = work(seed: seed)
  }

  @Test func `from the same seed the same happens`() {
    let (one, other, third) = (work(seed: 21), work(seed: 21), work(seed: 22))
    #expect(one == other)
    #expect(one.trace != third.trace)
  }

  @Test(arguments: UInt64(1)...10) func `what is said on channels arrives once, in order and to the end`(
    seed: UInt64
  ) throws {
    let relation = Relation(seed: seed)
    let network = relation.network
    relation.disturb()
    let said = (0..<6).map { _ in
      let count = Int.random(in: 0...500_000, using: &network.random)
      return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        for index in 0..<count { buffer[index] = UInt8(truncatingIfNeeded: network.random.next()) }
        initialized = count
      }
    }
    let talks = said.map { Talk(network, $0) }
    relation.exporter.acceptChannels { channel in
      channel.accept()
      guard let index = Int(channel.name) else { return }
      talks[index * 2 + 1].begin(channel)
    }
    for index in 0..<3 { try talks[index * 2].begin(relation.client.openChannel("\(index)")) }
    #expect(network.run(for: 3_600) { talks.allSatisfy { $0.isComplete || $0.failure != nil } })
    for index in 0..<3 {
      #expect(talks[index * 2].heard == said[index * 2 + 1] && talks[index * 2 + 1].heard == said[index * 2])
    }
    for talk in talks { #expect(talk.isAtEnd && talk.failure == nil) }
    relation.client.end()
    relation.exporter.end()
  }
}

/// What the simulated network promises.
@Suite struct SimulatedNetworkTests {
  /// When each of ten thousand datagrams comes out, one of 1,000 bytes every millisecond.
  private func arrivals(_ path: SimulatedPath) -> [[Double]] {
    var path = path
    var random = SeededGenerator(seed: 7)
    let start = Instant(nanoseconds: 0)
    return (0..<10_000).map { index in
      let now = start.advanced(by: Double(index) / 1_000)
      return path.send(1_000, at: now, &random).map { $0.seconds(since: start) }
    }
  }

  @Test func `a good path has its delay and its rate`() {
    var path = SimulatedPath()
    (path.delay, path.rate) = (0.05, 1e6)
    let all = arrivals(path).flatMap { $0 }
    #expect(all.count == 10_000 && all == all.sorted())
    #expect(abs(all[0] - 0.051) < 1e-6 && abs((all.last ?? 0) - 10.05) < 1e-3)
  }

  @Test func `what a full queue does not take is lost`() {
    var path = SimulatedPath()
    (path.rate, path.queue) = (0.5e6, 20_000)
    let taken = arrivals(path).count { !$0.isEmpty }
    #expect((5_000...5_030).contains(taken))
  }

  @Test func `losses, bursts, doubles and reordering are as frequent as asked for`() {
    var path = SimulatedPath()
    path.loss = 0.1
    #expect((850...1_150).contains(arrivals(path).count { $0.isEmpty }))
    path = SimulatedPath()
    path.bursts = .init(begin: 0.01, end: 0.1, loss: 1)
    let lost = arrivals(path).map(\.isEmpty)
    #expect((500...1_300).contains(lost.count { $0 }))
    let bursts = zip(lost, lost.dropFirst()).count { !$0 && $1 }
    #expect((6...15).contains(Double(lost.count { $0 }) / Double(bursts)))
    path = SimulatedPath()
    (path.duplication, path.jitter) = (0.2, 0.05)
    let all = arrivals(path)
    #expect((1_800...2_200).contains(all.count { $0.count == 2 }))
    #expect(all.flatMap { $0 } != all.flatMap { $0 }.sorted())
  }

  @Test func `too large, or sent while it is down, nothing comes out`() {
    var path = SimulatedPath()
    path.mtu = 999
    #expect(arrivals(path).allSatisfy { $0.isEmpty })
    path = SimulatedPath()
    path.isUp = false
    #expect(arrivals(path).allSatisfy { $0.isEmpty })
  }

  @Test func `things happen in the order of their times, and of their planning at one time`() {
    let network = SimulatedNetwork(seed: 1)
    var seen: [Int] = []
    for number in 0..<200 { network.after(Double(number % 10)) { seen.append(number) } }
    network.run(for: 100)
    #expect(seen == (0..<200).sorted { ($0 % 10, $0) < ($1 % 10, $1) })
    network.send(100, from: .one) { seen = [] }
    network.changePaths { $0.isUp = false }
    network.run(for: 1)
    #expect(!seen.isEmpty)
  }
}

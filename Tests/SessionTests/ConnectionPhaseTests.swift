import P2PFSCore
import P2PFSWire
import Testing

@testable import P2PFSSession

/// How a session stands by its connections, with time as an argument.
@Suite struct ConnectionPhaseTests {
  /// A link that is only told from others.
  private final class Stub: Link {
    let lastHeard = Instant(nanoseconds: 0)
    let isFailing = false
    let backlog = 0
    func send(_ frame: Frame, on lane: Lane) {}
    func close() {}
    func closed() async {}
    func attach(_ receiver: any LinkReceiver) {}
    func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) {}
  }

  private var phase = ConnectionPhase(timeout: 30)
  private var now = Instant(nanoseconds: 1_000_000_000)
  private let one = Stub()
  private let other = Stub()

  private func hello(_ instance: UInt64 = 1, remembers: Bool = true, machine: UInt64 = 1) -> Hello {
    Hello(
      session: Pair.identity, flags: remembers ? [.exports, .remembers] : [.exports], requests: 1_024, writeCredit: 0,
      instance: instance, machine: machine)
  }
  private mutating func connect(_ link: Stub, _ hello: Hello? = nil) throws -> ConnectionPhase.Greeted? {
    _ = phase.connect(link)
    return try phase.greeted(hello ?? self.hello(), on: link)
  }
  /// Counts seconds in steps of one, until something is to be done; returns that, and the seconds.
  private mutating func count(_ seconds: Int, hears: Bool = false) -> (duty: ConnectionPhase.Duty, after: Int) {
    for second in 1...seconds {
      now = now.advanced(by: 1)
      let duty = phase.count(
        1, heard: hears ? now : Instant(nanoseconds: 1), isBusy: false, isFailing: false, roundTrip: 0.01, now: now)
      switch duty {
      case .none, .ask: continue
      case .drop, .expire: return (duty, second)
      }
    }
    return (.none, seconds)
  }

  @Test mutating func `a session is offline, online, offline and online again, and needs a connection meanwhile`()
    throws
  {
    #expect(phase.status == .offline && phase.needsConnection && phase.links.isEmpty)
    let first = try connect(one)
    #expect(phase.status == .online && phase.link === one && phase.next == nil && !phase.needsConnection)
    #expect(first?.replaced == nil && first?.isNewPeer == false && phase.connections == 1)
    guard case .inUse = phase.lost(one) else { return #expect(Bool(false)) }
    #expect(phase.status == .offline && phase.needsConnection && phase.link == nil)
    guard case .nothing = phase.lost(one) else { return #expect(Bool(false), "lost twice") }
    _ = try connect(other)
    #expect(phase.status == .online && phase.connections == 2 && phase.restart == nil)
  }

  @Test mutating func `the connection in use serves until the peer greets on the next one`() throws {
    _ = try connect(one)
    let taken = phase.connect(other)
    #expect(taken.isTaken && taken.toClose == nil)
    #expect(phase.onlineLink === one && phase.next === other && phase.links.count == 2)
    let greeted = try phase.greeted(hello(), on: other)
    #expect(greeted?.replaced === one && phase.onlineLink === other && phase.next == nil)
    // What the replaced one still brings counts no more.
    #expect(try phase.greeted(hello(), on: one) == nil)
    guard case .nothing = phase.lost(one) else { return #expect(Bool(false)) }
    #expect(phase.status == .online)
    #expect(throws: MalformedMessage.self) { try phase.greeted(hello(), on: other) }
  }

  @Test mutating func `a further connection replaces the one that was not greeted on`() throws {
    let third = Stub()
    _ = try connect(one)
    _ = phase.connect(other)
    let taken = phase.connect(third)
    #expect(taken.isTaken && taken.toClose === other && phase.next === third)
    guard case .nothing = phase.lost(other), case .next = phase.lost(third) else { return #expect(Bool(false)) }
    #expect(phase.next == nil && phase.status == .online)
  }

  @Test mutating func `the next connection outlives the loss of the one in use`() throws {
    _ = try connect(one)
    _ = phase.connect(other)
    _ = phase.lost(one)
    #expect(phase.status == .offline && phase.next === other)
    let greeted = try phase.greeted(hello(), on: other)
    #expect(greeted?.replaced == nil && phase.status == .online)
  }

  @Test mutating func `a session without its peer expires once, and comes back`() throws {
    let (duty, after) = count(40)
    guard case .expire = duty else { return #expect(Bool(false), "\(duty)") }
    #expect(after == 30 && phase.status == .expired && !phase.takesRequests && phase.needsConnection)
    guard case .none = count(100).duty else { return #expect(Bool(false), "it expires twice") }
    _ = try connect(one)
    #expect(phase.status == .online)
  }

  @Test mutating func `the silence of a lost connection counts towards the timeout`() throws {
    _ = try connect(one)
    let (duty, silence) = count(20)
    guard case .drop(let link, _) = duty, link === one else { return #expect(Bool(false), "\(duty)") }
    #expect(silence == 9 && phase.needsConnection)  // the first step takes note of what was heard before
    _ = phase.lost(one)
    let (end, after) = count(40)
    guard case .expire = end else { return #expect(Bool(false), "\(end)") }
    #expect(after == 30 - 8)
  }

  @Test mutating func `a connection on which the peer never greets is dropped, and time runs on`() throws {
    _ = phase.connect(one)
    let (duty, after) = count(40)
    guard case .drop(let link, _) = duty, link === one else { return #expect(Bool(false), "\(duty)") }
    #expect(Double(after) == Limits.Session.greeting)
    _ = phase.lost(one)
    guard case .expire = count(40).duty else { return #expect(Bool(false)) }
  }

  @Test mutating func `a peer that was started again is connected, and online when it is recovered`() throws {
    _ = try connect(one)
    let greeted = try connect(other, hello(2, remembers: true, machine: 1))
    #expect(greeted?.isNewPeer == true && greeted?.replaced === one)
    #expect(phase.restart == PeerRestart(remembers: true, isOtherMachine: false))
    #expect(phase.status == .offline && phase.link === other && phase.onlineLink == nil && !phase.needsConnection)
    // It is connected: no time runs out.
    guard case .none = count(100, hears: true).duty else { return #expect(Bool(false)) }
    phase.recovered()
    #expect(phase.status == .online)
  }

  @Test mutating func `a connection that is lost before the recovery has ended is needed again, and the recovery too`()
    throws
  {
    _ = try connect(one)
    _ = try connect(other, hello(2, machine: 2))
    guard case .inUse = phase.lost(other) else { return #expect(Bool(false)) }
    #expect(phase.needsConnection && phase.status == .offline)
    let again = try connect(one, hello(2, machine: 2))
    #expect(again?.isNewPeer == false && phase.status == .offline)
    #expect(phase.restart == PeerRestart(remembers: true, isOtherMachine: true))
    // A third program on the machine of the second one: what was not synced is in doubt still.
    _ = try connect(other, hello(3, remembers: false, machine: 2))
    #expect(phase.restart == PeerRestart(remembers: false, isOtherMachine: true))
  }

  @Test mutating func `a change of the network puts the connection in doubt until the peer answers`() throws {
    #expect(phase.networkChanged(at: now) == nil)
    _ = try connect(one)
    #expect(phase.networkChanged(at: now) === one && phase.interval == Limits.Session.shortTick)
    phase.answerIsOverdue(on: other)
    #expect(!phase.needsConnection)
    phase.answerIsOverdue(on: one)
    #expect(phase.needsConnection && phase.status == .online)
    // This answer has waited for the path: it says nothing of a round trip. The next one does.
    let isOrdinary = (phase.answered(askedAt: now, on: one), phase.answered(askedAt: now, on: one))
    #expect(isOrdinary == (false, true) && !phase.needsConnection)
  }

  @Test mutating func `an ended session takes no connection`() throws {
    _ = try connect(one)
    _ = phase.connect(other)
    let links = phase.end()
    #expect(links?.count == 2 && phase.status == .over && phase.links.isEmpty && !phase.needsConnection)
    let taken = phase.connect(one)
    #expect(!taken.isTaken && taken.toClose === one && phase.end() == nil)
    #expect(try phase.greeted(hello(), on: one) == nil)
    guard case .none = count(100).duty else { return #expect(Bool(false)) }
  }
}

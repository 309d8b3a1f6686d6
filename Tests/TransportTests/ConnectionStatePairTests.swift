import P2PFSCore
import Testing

@testable import P2PFSTransport

/// Two connections without layers and without a network: what one announces reaches the other, in any order that the
/// network and the libraries may choose.
private final class Simulation {
  /// What has not happened yet.
  private enum Event {
    case describe(Int)
    case description(SessionDescription, to: Int)
    case gathered(Int, number: Int)
    case gatheringDone(Int)
    case candidate(Candidate, to: Int)
    case endOfCandidates(to: Int)
    case pairSelected(Int)
    case startHandshake(Int)
    case datagram([UInt8], to: Int)
    case associated(Int)
    case ended(Int, TransportError)
    case tearDown(Int)
  }

  private(set) var states = [
    ConnectionState(role: .offerer, servers: []), ConnectionState(role: .answerer, servers: []),
  ]
  private var events = [Event.describe(0)]
  private var random: SplitMix
  private let start = Instant(nanoseconds: 1)
  private var checks: Set<Int> = []
  private var associations: Set<Int> = []
  /// By side: whether DTLS runs, and as what.
  private var isClient: [Int: Bool] = [:]

  private static let hello: [UInt8] = [22, 1]
  private static let reply: [UInt8] = [22, 2]

  init(seed: UInt64) { random = SplitMix(state: seed) }

  /// Lets everything happen. A side closes after so many events.
  func run(closing: Int? = nil, after count: Int = .max) {
    var left = count
    while !events.isEmpty {
      if left == 0, let closing { perform(states[closing].close(isSending: false, at: start), of: closing) }
      left -= 1
      happen(events.remove(at: Int.random(in: events.indices, using: &random)))
    }
  }

  private func happen(_ event: Event) {
    switch event {
    case .describe(let side):
      guard (try? states[side].localDescription()) == nil, states[side].ended == nil else { return }
      states[side].beginDescription(
        fragment: "side\(side)", password: "0123456789012345678901",
        fingerprint: Fingerprint([UInt8](repeating: UInt8(side), count: 32))!)
      events += [.gathered(side, number: 1), .gathered(side, number: 2), .gatheringDone(side)]
      guard let (description, actions) = try? states[side].endDescription() else { return }
      events.append(.description(description, to: 1 - side))
      perform(actions, of: side)
    case .description(let description, let side):
      guard let actions = try? states[side].setRemote(description, at: start) else { return }
      perform(actions, of: side)
      if side == 1 { events.append(.describe(1)) }
    case .gathered(let side, let number):
      perform(
        states[side].gathered(
          Candidate(foundation: "1", priority: 1, address: "192.0.2.\(number)", port: 9, kind: .host)), of: side)
    case .gatheringDone(let side): perform(states[side].gatheringDone(), of: side)
    case .candidate(let candidate, let side): perform(states[side].addRemote(candidate), of: side)
    case .endOfCandidates(let side): perform(states[side].endOfRemoteCandidates(), of: side)
    case .pairSelected(let side): perform(states[side].pairSelected(), of: side)
    case .startHandshake(let side): perform(states[side].startHandshake(), of: side)
    case .datagram(let datagram, let side):
      if datagram.withUnsafeBytes({ states[side].received($0) }) == .dtls { handle(datagram, of: side) }
    case .associated(let side): perform(states[side].associated(), of: side)
    case .ended(let side, let error): perform(states[side].end(error), of: side)
    case .tearDown(let side): states[side].tearDown()
    }
  }

  /// What DTLS does with a datagram: the server answers, and both are done.
  private func handle(_ datagram: [UInt8], of side: Int) {
    guard let isClient = isClient[side], datagram == (isClient ? Self.reply : Self.hello) else { return }
    if !isClient { events.append(.datagram(Self.reply, to: 1 - side)) }
    perform(states[side].verified(), of: side)
  }

  private func perform(_ action: ConnectionState.Action?, of side: Int) { perform(action.map { [$0] } ?? [], of: side) }

  private func perform(_ actions: [ConnectionState.Action], of side: Int) {
    for action in actions {
      switch action {
      case .announce(let candidate): events.append(.candidate(candidate, to: 1 - side))
      case .finishCandidates: events.append(.endOfCandidates(to: 1 - side))
      case .startChecks:
        checks.insert(side)
        if checks.count == 2 { events += [.pairSelected(0), .pairSelected(1), .pairSelected(0)] }
      case .scheduleHandshake: events.append(.startHandshake(side))
      case .handshake(let isClient, let fingerprint, let received):
        #expect(fingerprint.bytes[0] == 1 - side)
        self.isClient[side] = isClient
        if isClient { events.append(.datagram(Self.hello, to: 1 - side)) }
        for datagram in received { handle(datagram, of: side) }
      case .associate:
        associations.insert(side)
        if associations.count == 2 { events += [.associated(0), .associated(1)] }
      case .end:
        events += [.tearDown(side), .ended(1 - side, .closedByPeer)]
      case .check, .endRemoteCandidates, .usePath, .reportUp, .drain, .wake: break
      }
    }
  }
}

/// SplitMix64: the same numbers for the same seed.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }
}

@Suite struct ConnectionStatePairTests {
  @Test func `in whatever order events come, both sides come up and know the same`() throws {
    for seed in UInt64(0)..<2_000 {
      let simulation = Simulation(seed: seed)
      simulation.run()
      let (offerer, answerer) = (simulation.states[0], simulation.states[1])
      #expect(offerer.sends && answerer.sends, "seed \(seed)")
      #expect(offerer.isClient == false && answerer.isClient == true, "seed \(seed)")
      for (own, other) in [(offerer, answerer), (answerer, offerer)] {
        let told = try #require(try own.localDescription())
        let known = try #require(other.descriptions?.remote)
        #expect(told.isComplete && known.isComplete, "seed \(seed)")
        #expect(Set(told.candidates) == Set(known.candidates) && told.candidates.count == 2, "seed \(seed)")
        #expect(told.fingerprint == known.fingerprint, "seed \(seed)")
      }
    }
  }

  @Test func `closed at any moment by either side, both end and nothing starts after it`() {
    for seed in UInt64(0)..<2_000 {
      let closer = Int(seed % 2)
      let simulation = Simulation(seed: seed)
      simulation.run(closing: closer, after: Int(seed / 2 % 40))
      let (ended, other) = (simulation.states[closer], simulation.states[1 - closer])
      if ended.ended == nil { continue }  // everything had happened before
      #expect(ended.endedAndTornDown == .closed, "seed \(seed)")
      #expect(other.endedAndTornDown == .closedByPeer, "seed \(seed)")
    }
  }
}

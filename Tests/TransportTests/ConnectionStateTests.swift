import P2PFSCore
import Testing

@testable import P2PFSTransport

private typealias Action = ConnectionState.Action

private let start = Instant(nanoseconds: 1_000_000_000)
private let tooLate = start.advanced(by: Limits.Transport.connecting)

/// One side of a connection without its layers: the test reports what they would.
private struct Side {
  var state: ConnectionState
  let name: String
  let role: ConnectionRole

  init(_ role: ConnectionRole, servers: [ICEServer] = []) {
    state = ConnectionState(role: role, servers: servers)
    self.role = role
    name = role == .offerer ? "offer" : "answer"
  }

  var fingerprint: Fingerprint { Fingerprint([UInt8](repeating: UInt8(name.utf8.count), count: 32))! }

  func candidate(_ number: Int = 1, _ kind: Candidate.Kind = .host) -> Candidate {
    Candidate(foundation: name, priority: 1, address: "192.0.2.\(number)", port: 1_000, kind: kind)
  }

  /// Makes the description, with one host candidate in it.
  mutating func describe(isComplete: Bool = false) throws -> (SessionDescription, [Action]) {
    #expect(try state.localDescription() == nil)
    state.beginDescription(fragment: name, password: "0123456789012345678901", fingerprint: fingerprint)
    #expect(state.gathered(candidate()) == nil, "announced although it is in the description")
    if isComplete { #expect(state.gatheringDone() == nil) }
    return try state.endDescription()
  }

  /// Brings it up to the state before `last`, or up.
  mutating func advance(to last: Stage) throws {
    var other = Side(role == .offerer ? .answerer : .offerer)
    if role == .answerer { _ = try state.setRemote(other.describe().0, at: start) }
    if last == .idle { return }
    _ = try describe()
    if last == .gathering { return }
    if role == .offerer { _ = try state.setRemote(answer(to: self, of: &other), at: start) }
    if last == .checking { return }
    #expect(state.pairSelected() == [.usePath, .scheduleHandshake])
    if last == .selected { return }
    #expect(state.startHandshake() != nil)
    if last == .handshaking { return }
    #expect(state.verified() != nil)
    if last == .associating { return }
    #expect(state.associated() == .reportUp)
    if last == .up { return }
    #expect(state.close(isSending: true, at: start).last == .drain)
    if last == .lingering { return }
    #expect(state.end(.pathLost) == .end(.pathLost))
    if last == .ended { return }
    state.tearDown()
  }

  private func answer(to offerer: Side, of other: inout Side) throws -> SessionDescription {
    _ = try other.state.setRemote(#require(try offerer.state.localDescription()), at: start)
    return try other.describe().0
  }
}

/// How far a connection has come.
private enum Stage: CaseIterable {
  case idle, gathering, checking, selected, handshaking, associating, up, lingering, ended, tornDown

  static let over: [Stage] = [.ended, .tornDown]
  static let alive = allCases.filter { !over.contains($0) }
}

private func receive(_ first: UInt8?, _ state: inout ConnectionState) -> ConnectionState.Destination {
  let bytes: [UInt8] = first.map { [$0, 1, 2] } ?? []
  return bytes.withUnsafeBytes { state.received($0) }
}

@Suite struct ConnectionStateTests {
  private func side(_ role: ConnectionRole, _ stage: Stage) throws -> Side {
    var side = Side(role)
    try side.advance(to: stage)
    return side
  }

  // MARK: The way up

  @Test func `two sides driven against each other come up with opposite DTLS roles`() throws {
    var offerer = Side(.offerer)
    var answerer = Side(.answerer)
    let (offer, none) = try offerer.describe()
    #expect(none == [])
    #expect(offer.setup == .actpass && offer.candidates == [offerer.candidate()])
    #expect(try answerer.state.setRemote(offer, at: start) == [.wake(at: tooLate)])
    let (answer, checks) = try answerer.describe(isComplete: true)
    #expect(answer.setup == .active && answer.isComplete)
    #expect(checks == [.finishCandidates, .startChecks(offer)])
    #expect(try offerer.state.setRemote(answer, at: start) == [.wake(at: tooLate), .startChecks(answer)])
    #expect(offerer.state.isClient == false)
    #expect(answerer.state.isClient == true)

    let late = offerer.candidate(2, .srflx)
    #expect(offerer.state.gathered(late) == .announce(late))
    #expect(answerer.state.addRemote(late) == .check(late))
    #expect(offerer.state.gatheringDone() == .finishCandidates)
    #expect(answerer.state.endOfRemoteCandidates() == .endRemoteCandidates)
    #expect(try offerer.state.localDescription()?.candidates == [offerer.candidate(), late])
    #expect(try offerer.state.localDescription()?.isComplete == true)

    #expect(answerer.state.pairSelected() == [.usePath, .scheduleHandshake])
    #expect(
      answerer.state.startHandshake() == .handshake(isClient: true, expecting: offerer.fingerprint, received: []))
    // The client's first flight is faster than the offerer's own check.
    #expect(receive(22, &offerer.state) == .none)
    #expect(offerer.state.pairSelected() == [.usePath, .scheduleHandshake])
    #expect(
      offerer.state.startHandshake()
        == .handshake(isClient: false, expecting: answerer.fingerprint, received: [[22, 1, 2]]))
    #expect(receive(22, &answerer.state) == .dtls)
    for index in 0...1 {
      var state = index == 0 ? offerer.state : answerer.state
      #expect(state.verified() == .associate(port: 5_000, remotePort: 5_000))
      #expect(!state.sends)
      #expect(state.associated() == .reportUp)
      #expect(state.sends && state.ended == nil)
      try state.requireUp()
      if index == 0 { offerer.state = state } else { answerer.state = state }
    }

    #expect(offerer.state.close(isSending: true, at: start) == [.wake(at: start.advanced(by: 1)), .drain])
    #expect(offerer.state.drained() == .end(.closed))
    #expect(answerer.state.end(.closedByPeer) == .end(.closedByPeer))
    #expect(offerer.state.endedAndTornDown == nil)
    offerer.state.tearDown()
    #expect(offerer.state.endedAndTornDown == .closed)
  }

  @Test func `the answer decides the DTLS roles unless the offer has`() throws {
    for (setup, ours) in [(SessionDescription.Setup.active, SessionDescription.Setup.passive), (.passive, .active)] {
      var offerer = Side(.offerer)
      var offer = try offerer.describe().0
      offer.setup = setup
      var answerer = Side(.answerer)
      _ = try answerer.state.setRemote(offer, at: start)
      let answer = try answerer.describe().0
      #expect(answer.setup == ours)
      _ = try offerer.state.setRemote(answer, at: start)
      #expect(offerer.state.isClient != answerer.state.isClient)
      #expect(answerer.state.isClient == (ours == .active))
    }
  }

  @Test func `candidates that come before the descriptions are kept and given to ICE with them`() throws {
    var offerer = Side(.offerer)
    let answerer = Side(.answerer)
    #expect(offerer.state.addRemote(answerer.candidate(7)) == nil)
    _ = try offerer.describe()
    for number in 0..<200 { #expect(offerer.state.addRemote(answerer.candidate(number)) == nil) }
    #expect(offerer.state.endOfRemoteCandidates() == nil)
    var answer = try Self.answer()
    answer.candidates = [answerer.candidate(9)]
    guard case .startChecks(let remote)? = try offerer.state.setRemote(answer, at: start).last else {
      Issue.record("no checks")
      return
    }
    #expect(remote.candidates.count == Limits.Transport.candidates)
    #expect(remote.candidates.prefix(2) == [answerer.candidate(9), answerer.candidate(7)])
    #expect(remote.isComplete)
    #expect(offerer.state.addRemote(answerer.candidate(8)) == nil, "more than the limit")
    #expect(offerer.state.endOfRemoteCandidates() == nil, "told twice")
  }

  @Test func `no more candidates of a kind are announced than the peer takes`() throws {
    var side = try side(.offerer, .gathering)
    let announced = (2..<100).compactMap { side.state.gathered(side.candidate($0)) }
    #expect(announced.count == Limits.Transport.hostCandidates - 1, "one is in the description")
    #expect(side.state.gathered(side.candidate(1, .relay)) == .announce(side.candidate(1, .relay)))
  }

  // MARK: Calls in the wrong order

  @Test func `an answerer has no description before the offer`() {
    #expect(throws: TransportError.wrongState("an answer needs an offer")) {
      try Side(.answerer).state.localDescription()
    }
  }

  @Test func `an offerer takes no answer before its offer`() throws {
    var offerer = Side(.offerer)
    #expect(throws: TransportError.wrongState("an answer before the offer")) {
      try offerer.state.setRemote(Self.answer(), at: start)
    }
  }

  @Test(arguments: Stage.allCases) private func `a second description of the peer changes nothing`(_ stage: Stage)
    throws
  {
    for role in [ConnectionRole.offerer, .answerer] {
      if role == .offerer, [.idle, .gathering].contains(stage) { continue }
      var side = try side(role, stage)
      var other = try Self.answer()
      other.fingerprint = Fingerprint([UInt8](repeating: 99, count: 32))!
      #expect(throws: TransportError.self) { try side.state.setRemote(other, at: start) }
      if stage == .selected {
        guard case .handshake(_, let fingerprint, _)? = side.state.startHandshake() else {
          Issue.record("no handshake")
          return
        }
        #expect(fingerprint != other.fingerprint)
      }
    }
  }

  @Test func `descriptions that ask for what is not done are refused and may be followed by a good one`() throws {
    var side = try side(.offerer, .gathering)
    var open = try Self.answer()
    open.setup = .actpass
    #expect(throws: TransportError.badDescription("the answer leaves the DTLS role open")) {
      try side.state.setRemote(open, at: start)
    }
    var small = try Self.answer()
    small.largestMessage = 1_000
    #expect(throws: TransportError.self) { try side.state.setRemote(small, at: start) }
    small.largestMessage = 0
    #expect(try side.state.setRemote(small, at: start).count == 2)
  }

  @Test(arguments: Stage.allCases) private func `channels open only while it is up`(_ stage: Stage) throws {
    let side = try side(.answerer, stage)
    switch stage {
    case .up: try side.state.requireUp()
    case .lingering: #expect(throws: TransportError.closed) { try side.state.requireUp() }
    case .ended, .tornDown: #expect(throws: TransportError.pathLost) { try side.state.requireUp() }
    default: #expect(throws: TransportError.wrongState("not connected yet")) { try side.state.requireUp() }
    }
    #expect(side.state.sends == [.up, .lingering].contains(stage))
  }

  // MARK: A peer and libraries that report anything at any time

  @Test(arguments: Stage.allCases) private func `a DTLS packet goes to DTLS, is kept for it, or is dropped`(
    _ stage: Stage
  ) throws {
    for role in [ConnectionRole.offerer, .answerer] {
      var side = try side(role, stage)
      let runs: [Stage] = [.handshaking, .associating, .up, .lingering]
      #expect(receive(22, &side.state) == (runs.contains(stage) ? .dtls : .none))
      // STUN, TURN channels, RTP and nothing at all are not DTLS's.
      for first in [nil, 0, 1, 19, 64, 128, 255] as [UInt8?] { #expect(receive(first, &side.state) == .none) }
    }
  }

  @Test func `datagrams before DTLS are kept up to a limit, in their order`() throws {
    var side = try side(.offerer, .gathering)
    for first in UInt8(20)..<40 { #expect(receive(first, &side.state) == .none) }
    _ = try side.state.setRemote(Self.answer(), at: start)
    #expect(receive(40, &side.state) == .none)
    _ = side.state.pairSelected()
    #expect(receive(41, &side.state) == .none)
    guard case .handshake(_, _, let received)? = side.state.startHandshake() else {
      Issue.record("no handshake")
      return
    }
    #expect(received == (20..<28).map { [$0, 1, 2] })
    #expect(received.count == Limits.Transport.earlyDatagrams)
  }

  @Test(arguments: Stage.allCases) private func `layers that report out of turn are ignored`(_ stage: Stage) throws {
    for role in [ConnectionRole.offerer, .answerer] {
      var side = try side(role, stage)
      if stage != .selected { #expect(side.state.startHandshake() == nil) }
      if stage != .handshaking { #expect(side.state.verified() == nil) }
      if stage != .associating { #expect(side.state.associated() == nil) }
      if stage != .lingering { #expect(side.state.drained() == nil) }
      let isSelected: [Stage] = [.selected, .handshaking, .associating, .up, .lingering]
      // An answerer that has its description is checking.
      if stage != .checking, stage != .gathering || role == .offerer {
        #expect(side.state.pairSelected() == (isSelected.contains(stage) ? [.usePath] : []))
      }
      side.state.tearDown()
      #expect((side.state.endedAndTornDown != nil) == Stage.over.contains(stage))
      #expect((side.state.ended != nil) == Stage.over.contains(stage))
    }
  }

  @Test(arguments: Stage.allCases) private func `failed checks end only what was up`(_ stage: Stage) throws {
    var side = try side(.answerer, stage)
    #expect(side.state.pathFailed() == ([.up, .lingering].contains(stage) ? .end(.pathLost) : nil))
  }

  @Test(arguments: Stage.allCases) private func `only the first error counts, and nothing happens after it`(
    _ stage: Stage
  ) throws {
    for role in [ConnectionRole.offerer, .answerer] {
      var side = try side(role, stage)
      let first: TransportError = Stage.over.contains(stage) ? .pathLost : .closedByPeer
      #expect(side.state.end(.closedByPeer) == (Stage.over.contains(stage) ? nil : .end(.closedByPeer)))
      for _ in 0...1 {
        #expect(side.state.ended == first)
        #expect(side.state.end(.closed) == nil)
        #expect(side.state.close(isSending: true, at: start) == [])
        #expect(side.state.gathered(side.candidate(3)) == nil)
        #expect(side.state.gatheringDone() == nil)
        #expect(side.state.addRemote(side.candidate(3)) == nil)
        #expect(side.state.endOfRemoteCandidates() == nil)
        #expect(side.state.pairSelected() == [])
        #expect(side.state.startHandshake() == nil)
        #expect(receive(22, &side.state) == .none)
        #expect(side.state.verified() == nil)
        #expect(side.state.associated() == nil)
        #expect(side.state.pathFailed() == nil)
        #expect(side.state.timedOut(at: tooLate) == nil)
        #expect(throws: first) { try side.state.localDescription() }
        #expect(throws: first) { try side.state.setRemote(Self.answer(), at: start) }
        #expect(throws: first) { try side.state.endDescription() }
        #expect(!side.state.sends)
        side.state.tearDown()
        #expect(side.state.endedAndTornDown == first)
      }
    }
  }

  @Test func `an error while the description is made ends it`() throws {
    var side = Side(.offerer)
    side.state.beginDescription(fragment: "offer", password: "0123456789012345678901", fingerprint: side.fingerprint)
    #expect(throws: TransportError.self) { try side.state.localDescription() }
    #expect(side.state.end(.resources("no local address")) == .end(.resources("no local address")))
    #expect(throws: TransportError.resources("no local address")) { try side.state.endDescription() }
  }

  @Test func `the peer's end while we linger is the end`() throws {
    var side = try side(.answerer, .lingering)
    #expect(side.state.end(.closedByPeer) == .end(.closedByPeer))
    #expect(side.state.drained() == nil)
    #expect(side.state.timedOut(at: tooLate) == nil)
  }

  // MARK: Time, and closing

  @Test(arguments: Stage.allCases) private func `closing with something under way lingers once it was up`(
    _ stage: Stage
  ) throws {
    for isSending in [true, false] {
      var side = try side(.answerer, stage)
      let actions = side.state.close(isSending: isSending, at: start)
      switch stage {
      case .up where isSending:
        #expect(actions == [.wake(at: start.advanced(by: Limits.Transport.linger)), .drain])
        #expect(side.state.close(isSending: false, at: start) == [], "it lingers already")
      case .lingering, .ended, .tornDown: #expect(actions == [])
      default: #expect(actions == [.end(.closed)])
      }
    }
  }

  @Test(arguments: Stage.allCases) private func `what is not up in time ends, and says how far it came`(_ stage: Stage)
    throws
  {
    var side = Side(.answerer, servers: [ICEServer(uri: "stun:192.0.2.1")!])
    try side.advance(to: stage)
    let early = start.advanced(by: 0.999)
    let again = side.state.timedOut(at: early)
    let late = side.state.timedOut(at: tooLate)
    switch stage {
    case .up, .ended, .tornDown:
      #expect(again == nil && late == nil)
    case .lingering:
      #expect(again == .wake(at: start.advanced(by: Limits.Transport.linger)))
      #expect(late == .end(.closed))
    case .idle, .gathering, .checking:
      #expect(again == .wake(at: tooLate))
      guard case .end(.noPath(let tried))? = late else {
        Issue.record("\(String(describing: late))")
        return
      }
      #expect(tried.hasSuffix("servers stun:192.0.2.1:3478"))
      if stage != .idle { #expect(tried.hasPrefix("1 local here, 1 local there")) }
    case .selected, .handshaking, .associating:
      #expect(again == .wake(at: tooLate))
      #expect(late == .end(.handshakeTimeout))
    }
  }

  @Test func `an offer that nobody answers has no deadline of its own`() throws {
    var side = try side(.offerer, .gathering)
    #expect(side.state.timedOut(at: start.advanced(by: 1_000_000)) == nil)
  }

  private static func answer() throws -> SessionDescription {
    var offerer = Side(.offerer)
    var answerer = Side(.answerer)
    _ = try answerer.state.setRemote(offerer.describe().0, at: start)
    return try answerer.describe().0
  }
}

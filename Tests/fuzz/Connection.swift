import P2PFSCore
@testable import P2PFSTransport

/// A connection whose peer, libraries and user do anything in any order: nothing traps, it ends at most once, and no
/// layer starts before its turn.
///
/// The input is a sequence of steps of two bytes: what happens, and a small number. The first byte chooses the role.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConnection(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: bytes, count: count)
  guard let first = input.first else { return 0 }
  var state = ConnectionState(role: first & 1 == 0 ? .offerer : .answerer, servers: [])
  var streams = StreamTable<UInt16>()
  var now = Instant(nanoseconds: 1_000_000_000)
  // What was done so far, each at most once.
  var (checks, handshakes, associations, ups, ends) = (0, 0, 0, 0, 0)
  func perform(_ actions: [ConnectionState.Action]) {
    for action in actions {
      switch action {
      case .startChecks(let remote):
        checks += 1
        precondition(remote.candidates.count <= Limits.Transport.candidates)
      case .handshake(_, _, let received):
        handshakes += 1
        precondition(checks == 1 && received.count <= Limits.Transport.earlyDatagrams)
      case .associate:
        associations += 1
        precondition(handshakes == 1)
      case .reportUp:
        ups += 1
        precondition(associations == 1 && state.sends)
      case .end(let error):
        ends += 1
        precondition(state.ended == error && !state.sends)
      case .wake(let time): precondition(time > now)
      default: break
      }
      precondition(ends == 0 || state.ended != nil)
    }
    precondition([checks, handshakes, associations, ups, ends].allSatisfy { $0 <= 1 }, "something was done twice")
  }
  func perform(_ action: ConnectionState.Action?) { perform(action.map { [$0] } ?? []) }
  let kinds: [Candidate.Kind] = [.host, .srflx, .prflx, .relay]
  for start in stride(from: 1, to: count - 1, by: 2) {
    let (step, number) = (input[start], input[start + 1])
    let candidate = Candidate(
      foundation: "1", priority: 1, address: "192.0.2.\(number)", port: 9, kind: kinds[Int(number) % 4])
    switch step % 20 {
    case 0:
      let isToBeMade = Result { try state.localDescription() == nil }
      if case .success(true) = isToBeMade {
        state.beginDescription(fragment: "abcd", password: "0123456789012345678901", fingerprint: fingerprint)
      }
    case 1: if let (_, actions) = try? state.endDescription() { perform(actions) }
    case 2:
      var remote = SessionDescription(
        fragment: "dcba", password: "0123456789012345678901", fingerprint: fingerprint,
        setup: [.actpass, .active, .passive][Int(number) % 3])
      if number > 250 { remote.largestMessage = 1 }
      if let actions = try? state.setRemote(remote, at: now) { perform(actions) }
    case 3: perform(state.gathered(candidate))
    case 4: if number > 200 { perform(state.gatheringDone()) }
    case 5: perform(state.addRemote(candidate))
    case 6: if number > 200 { perform(state.endOfRemoteCandidates()) }
    case 7: perform(state.pairSelected())
    case 8: perform(state.startHandshake())
    case 9:
      let isForDTLS = withUnsafeBytes(of: number) { state.received($0) } == .dtls
      precondition(!isForDTLS || handshakes == 1 && ends == 0)
    case 10: perform(state.verified())
    case 11: perform(state.associated())
    case 12: perform(state.pathFailed())
    case 13: if number > 200 { perform(state.close(isSending: number & 1 == 0, at: now)) }
    case 14: perform(state.drained())
    case 15:
      now = now.advanced(by: Double(number) / 16)
      perform(state.timedOut(at: now))
    case 16: if number > 250 { perform(state.end(.closedByPeer)) }
    case 17:
      state.tearDown()
      precondition(state.endedAndTornDown == nil || ends == 1)
    default:
      let stream = UInt16(number) / 8
      switch number % 8 {
      case 0: if let free = try? streams.free(isClient: true) { streams.open(free, on: free) }
      case 1...2: if streams.violation(ofOpening: stream, isClient: true) == nil { streams.open(stream, on: stream) }
      case 3: if let closed = streams.close(stream) { precondition(closed == stream) }
      case 4...5: precondition(streams.resetByPeer(number > 250 ? [] : [stream]).allSatisfy { streams[$0] == nil })
      case 6: streams.resetConfirmed(stream)
      default: _ = streams.takeResets()
      }
      precondition(streams.all.count <= Limits.Transport.channels)
    }
  }
  return 0
}

private let fingerprint = Fingerprint([UInt8](repeating: 1, count: 32))!

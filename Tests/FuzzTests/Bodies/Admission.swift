import P2PFSCore
@testable import P2PFSSession
import P2PFSWire

/// A peer that asks for anything, on connections that come and go: requests stay within the bounds, each change is
/// executed once, each executing one is counted until it ends, and nothing traps.
///
/// The input is a sequence of steps of four bytes: the kind of event, a slot, a number, a size.
func fuzzAdmission(_ input: UnsafeBufferPointer<UInt8>) {
  let count = input.count
  var peer = Peer()
  for start in stride(from: 0, to: count - 3, by: 4) {
    peer.step(input[start], slot: UInt64(input[start + 1]), number: input[start + 2], size: Int(input[start + 3]))
  }
  peer.finish()
}

private struct Peer {
  private static let slots = 16
  private static let credit = 4_096
  private static let bytes = 16_384
  private static let backlog = 100_000
  private var admission = RequestAdmission(
    isServing: true, backlog: backlog, writeCredit: credit, limit: slots, bytes: bytes)
  private var executing: [(request: IncomingRequest, charge: RequestAdmission.Charge)] = []
  private var connection: UInt64 = 1
  private var instance: UInt64 = 1
  /// Changes that were begun: which program of the peer asked, and the number of the request.
  private var begun: Set<[UInt64]> = []
  /// Bytes of replies that have not left.
  private var queued = 0

  init() { _ = admission.connected(1, isNewPeer: false) }

  mutating func step(_ kind: UInt8, slot: UInt64, number: UInt8, size: Int) {
    switch kind % 16 {
    case 0...6:
      guard let request = request(slot: slot % 20, number: number, size: size) else { return }
      receive(request)
    case 7:
      guard let request = request(slot: slot % 20, number: number, size: size) else { return }
      do { try admission.receiveEarly(request, on: number & 1 == 0 ? .bulk : .control) } catch {
        admission.forgetEarly()
      }
    case 8...11: reply(Int(slot), isLast: number < 200, size: size * 256)
    case 12: queued = max(0, queued - size * 512)
    case 13:
      admission.disconnected()
    case 14: connect(isNewPeer: number < 64)
    default: admission.forgetEarly()
    }
    unpark()
    check()
  }

  /// Whatever happened: when everything was answered and sent, nothing is counted any more.
  mutating func finish() {
    queued = 0
    while !executing.isEmpty || !admission.parked.isEmpty {
      let before = (executing.count, admission.parked.count)
      unpark()
      reply(0, isLast: true, size: 0)
      precondition(before.0 > 0 || admission.parked.count < before.1, "a parked request waits for nothing")
    }
    precondition(admission.isIdle, "an ended request is still counted")
  }

  private func request(slot: UInt64, number: UInt8, size: Int) -> IncomingRequest? {
    // Known operations and unknown ones, uses of the slot from 0 on.
    let frame = Frame(capacity: Header.length + 4 * size)
    let header = Header(kind: .request, operation: number % 25, sequence: UInt64(number / 25) << 16 | slot)
    header.write(to: frame)
    frame.spare.initializeMemory(as: UInt8.self, repeating: number & 1 == 0 ? 0 : 1)
    frame.count = frame.capacity
    return IncomingRequest(header, frame)
  }

  private mutating func receive(_ request: IncomingRequest) {
    do { perform(try admission.receive(request, backlog: queued)) } catch {
      // It broke the protocol: the connection ends.
      admission.disconnected()
      connect(isNewPeer: false)
    }
  }

  private mutating func connect(isNewPeer: Bool) {
    connection += 1
    queued = 0
    if isNewPeer { instance += 1 }
    for request in admission.connected(connection, isNewPeer: isNewPeer) { receive(request) }
  }

  private mutating func unpark() {
    while let action = admission.unpark(backlog: queued) { perform(action) }
  }

  private mutating func perform(_ action: RequestAdmission.Action) {
    switch action {
    case .none: break
    case .answerAgain(let reply): queued += reply.count
    case .refuse: preconditionFailure("there is an export")
    case .serve(let request, let charge):
      precondition(charge.connection == connection, "a request of another connection")
      if request.summary.changes {
        precondition(begun.insert([instance, request.header.sequence]).inserted, "a change is executed twice")
      }
      executing.append((request, charge))
    }
  }

  private mutating func reply(_ index: Int, isLast: Bool, size: Int) {
    guard !executing.isEmpty else { return }
    let (request, charge) = isLast ? executing.remove(at: index % executing.count) : executing[index % executing.count]
    let (isSent, isKept) = admission.replied(
      Frame.reply(to: request.header), to: request.header, charge, isLast: isLast)
    precondition(!isKept || isSent && request.summary.changes)
    if isSent { queued += Header.length + min(size, request.summary.answerBytes) }
  }

  private func check() {
    precondition(admission.executing == executing.count && executing.count <= Peer.slots, "too many execute")
    precondition(admission.executingHere + admission.parked.count <= Peer.slots, "too many of one connection")
    precondition(admission.executingBytes.fits(in: admission.bound), "too many bytes execute")
    precondition(admission.bytesHere.fits(in: admission.bound), "too many bytes of one connection")
    precondition(admission.reserved <= max(Peer.backlog, Limits.Wire.read), "more reserved than there is")
  }
}

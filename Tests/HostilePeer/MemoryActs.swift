import P2PFSMeeting
import P2PFSCore
import Glibc
import P2PFSSession
import P2PFSWire

/// What fills an exporter's memory: as many and as large requests as can be sent, of which no answer is taken.
let memoryActs: [String: Act] = {
  /// A request with bytes behind it that mean nothing, which is seen when it is its turn.
  @Sendable func padded(_ request: Request, to count: Int) -> Frame {
    let short = request.encoded()
    let frame = Frame(capacity: count)
    frame.spare.initializeMemory(as: UInt8.self, repeating: 0xff)
    memcpy(frame.base, short.base, short.count)
    frame.count = count
    return frame
  }
  /// Makes a large file, then sends `requests`, each in a slot of its own.
  @Sendable func fill(
    _ stranger: Stranger, _ requests: (_ handle: Handle, _ credit: Int) -> [(Frame, Lane)]
  ) async throws {
    await stranger.hear()
    let handle = Handle(rawValue: UInt64.random(in: 1...UInt64.max))
    let path = try Path(Array("fill-\(handle.rawValue)".utf8))
    let beginning: [Request] = [
      .create(handle, path, [.read, .write], mode: 0o600),
      .setattr(.handle(handle), AttributeChanges(size: 67_108_864)),
    ]
    let all = beginning.map { ($0.encoded(), Lane.control) } + requests(handle, stranger.writeCredit)
    for (slot, (frame, lane)) in all.enumerated() {
      frame.number(1 << 16 | UInt64(slot % Limits.Session.requests))
      stranger.link.send(frame, on: lane)
    }
    try await Task.sleep(for: .seconds(4))
    await stranger.fallDeaf()
  }
  @Sendable func read(_ handle: Handle) -> Request { .read(handle, offset: 0, count: UInt32(Limits.Wire.read)) }
  @Sendable func write(_ handle: Handle) -> (Frame, Lane) {
    let frame = Request.writeFrame(handle, offset: 0, count: Limits.Wire.data)
    frame.count += Limits.Wire.data
    return (frame, .bulk)
  }
  return [
    // All that the protocol allows, and not a byte more.
    "memory-fill": .guest { stranger in
      try await fill(stranger) { handle, credit in
        let reads = (0..<32).map { _ in (read(handle).encoded(), Lane.control) }
        let large = (0..<7).map { _ in (padded(read(handle), to: 60_000), Lane.control) }
        return (0..<(credit / Limits.Wire.data)).map { _ in write(handle) } + reads + large
      }
    },
    // Small ones, whose memory is what they cost besides their bytes.
    "memory-many": .guest { stranger in
      try await fill(stranger) { handle, _ in
        (0..<1_000).map { _ in (padded(read(handle), to: 250), .control) }
      }
    },
    // More than is allowed.
    "memory-overrun": .guest { stranger in
      try await fill(stranger) { handle, _ in
        (0..<1_000).map { _ in (padded(read(handle), to: 60_000), .control) } + (0..<1_000).map { _ in write(handle) }
      }
    },
  ]
}()

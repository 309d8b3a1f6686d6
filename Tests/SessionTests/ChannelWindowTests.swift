import P2PFSCore
import Rig
import Testing
import P2PFSWire

@testable import P2PFSSession

/// How the window of a channel follows what its sender and its receiver make of it.
@Suite(.onThreads) struct ChannelWindowTests {
  /// One direction of a channel, whose program takes everything at once. What is said arrives a round trip before the
  /// credit for it does.
  private struct Direction {
    var sender = ChannelFlow(
      number: 1, keepsMessages: false, isKnownToPeer: true, sendPool: WindowPool(), receivePool: WindowPool())
    var receiver: ChannelFlow
    let pool = WindowPool()

    init() {
      receiver = ChannelFlow(
        number: 1, keepsMessages: false, isKnownToPeer: true, sendPool: WindowPool(), receivePool: pool)
    }

    /// Sends all that the window allows and has it taken; returns how much that was.
    mutating func roundTrip(isLimited: Bool, takes: Bool = true) throws -> Int {
      var bytes = 0
      var credits: [(UInt64, UInt64)] = []
      while sender.hasRoom(for: 32_768) {
        let frame = ChannelMessage.dataFrame(capacity: 32_768)
        frame.count += 32_768
        let position = sender.sent
        sender.enqueue(frame)
        _ = try receiver.receive(FrameSlice(frame, ChannelMessage.header..<frame.count), at: position)
        bytes += 32_768
        while takes, case .piece(let piece) = receiver.dequeue() {
          if case .credit(let consumed, let limit) = receiver.consume(piece) { credits.append((consumed, limit)) }
        }
      }
      if isLimited { sender.markWindowLimited() }
      for (consumed, limit) in credits { try sender.credit(consumed: consumed, limit: limit) }
      return bytes
    }
  }

  @Test func theWindowDoublesEachRoundTripThatLeavesTheSenderStarving() throws {
    var direction = Direction()
    var sizes: [Int] = []
    for _ in 0..<9 { sizes.append(try direction.roundTrip(isLimited: true)) }
    #expect(sizes[0] < 262_144 && sizes[2] > 400_000, "\(sizes)")
    #expect(sizes[8] > 8_000_000 && sizes[8] <= Int(Limits.Channel.widestWindow), "\(sizes)")
  }

  @Test func theWindowStaysWhereTheNetworkIsTheLimit() throws {
    var direction = Direction()
    for _ in 0..<50 { #expect(try direction.roundTrip(isLimited: false) <= Int(Limits.Channel.window)) }
    #expect(direction.pool.take(Limits.Channel.windowPool))
  }

  @Test func theWindowStaysWhereTheProgramIsTheLimit() throws {
    var direction = Direction()
    _ = try direction.roundTrip(isLimited: true, takes: false)
    var credits: [(UInt64, UInt64)] = []
    // Half of it is taken, slowly.
    for _ in 0..<3 {
      guard case .piece(let piece) = direction.receiver.dequeue() else { break }
      if case .credit(let consumed, let limit) = direction.receiver.consume(piece) { credits.append((consumed, limit)) }
    }
    #expect(credits.allSatisfy { $0.1 <= $0.0 + Limits.Channel.window })
    #expect(direction.pool.take(Limits.Channel.windowPool))
  }
}

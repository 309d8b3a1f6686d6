package import P2PFSCore

/// Random numbers that come again from the same seed (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// The numbers of this seed, from the first on.
  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  /// Whether something happens that has this probability.
  package mutating func happens(_ probability: Double) -> Bool {
    probability > 0 && Double.random(in: 0..<1, using: &self) < probability
  }
}

/// One direction of a network path: for each datagram that goes in, the times at which it comes out. A plain value, whose
/// time and chance are arguments.
///
/// A datagram waits for those before it to leave at the path's rate, is dropped if too many bytes wait already, and is on
/// its way for the delay and a part of the jitter by itself: so jitter beyond the distance of two datagrams changes their
/// order.
package struct SimulatedPath: Sendable {
  /// Losses that come together (Gilbert and Elliott): the path is good or bad, and changes with each datagram.
  package struct Bursts: Sendable {
    /// The probabilities that a good path becomes bad, that a bad one becomes good, and that a bad one loses a datagram.
    package var begin: Double
    package var end: Double
    package var loss: Double

    /// Bursts of the given probabilities.
    package init(begin: Double, end: Double, loss: Double) { (self.begin, self.end, self.loss) = (begin, end, loss) }
  }

  /// Seconds on the way, and at most so many more.
  package var delay = 0.02
  package var jitter = 0.0
  /// Bytes in a second.
  package var rate = 25e6
  /// Bytes that may wait to leave.
  package var queue = 1_000_000
  /// The probability that a datagram is lost, whatever the others are.
  package var loss = 0.0
  package var bursts: Bursts?
  /// The probability that a datagram comes twice.
  package var duplication = 0.0
  /// Bytes of the largest datagram that passes.
  package var mtu = 1_500
  /// Nothing comes out while it is down: also not what was under way.
  package var isUp = true
  private var isBad = false
  private var isFreeAt = Instant(nanoseconds: 0)

  /// A good path of 200 Mbit/s and 20 ms.
  package init() {}

  /// Takes a datagram of `count` bytes in.
  /// - Returns: when it comes out; nothing if it is lost.
  package mutating func send(_ count: Int, at now: Instant, _ random: inout SeededGenerator) -> [Instant] {
    if let bursts { isBad = isBad ? !random.happens(bursts.end) : random.happens(bursts.begin) }
    guard isUp, count <= mtu else { return [] }
    let begins = max(now, isFreeAt)
    guard begins.seconds(since: now) * rate <= Double(queue) else { return [] }
    isFreeAt = begins.advanced(by: Double(count) / rate)
    if random.happens(loss) || isBad && random.happens(bursts?.loss ?? 0) { return [] }
    let copies = random.happens(duplication) ? 2 : 1
    return (0..<copies).map { _ in
      isFreeAt.advanced(by: delay + (jitter > 0 ? Double.random(in: 0...jitter, using: &random) : 0))
    }
  }
}

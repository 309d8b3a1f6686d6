import P2PFSCore

/// Withholds acknowledgements from SCTP that would cause needless retransmissions while it recovers from a burst of losses.
///
/// In fast recovery each acknowledgement that advances counts as a miss of every hole (RFC 9260 section 7.2.4), and
/// the third miss sends the hole's packet again, whatever the congestion window says. With hundreds of holes, each
/// filled by a packet that is answered by such an acknowledgement, every hole is sent again dozens of times within one
/// round trip: a storm that keeps the bottleneck's queue full for seconds. So during recovery acknowledgements with
/// holes pass at most twice a round trip. They are cumulative: later ones repeat what the dropped ones said.
struct LossRecovery: Sendable {
  private var end: UInt32?
  private var last = Instant(nanoseconds: 0)

  /// A packet was retransmitted; recovery lasts until everything up to `highest` is acknowledged.
  mutating func begin(until highest: UInt32) {
    if end == nil { end = highest }
  }

  /// Whether to pass a packet with an acknowledgement to SCTP.
  mutating func takes(
    _ packet: UnsafeRawBufferPointer, cumulative: UInt32, at now: Instant, roundTrip: Double
  ) -> Bool {
    guard let end else { return true }
    if Int32(bitPattern: cumulative &- end) >= 0 {
      self.end = nil
      return true
    }
    guard SCTPPacket(packet).isOnlyAcknowledgementWithGaps else { return true }
    guard now.seconds(since: last) >= roundTrip / 2 else { return false }
    last = now
    return true
  }
}

import P2PFSCore
import Glibc

/// A message that SCTP delivers in parts, as it does when the receive buffer is nearly full.
///
/// The buffer doubles when it is full, so that each byte is copied twice at most, however small the parts are.
struct PartialMessage {
  /// What has come so far.
  private(set) var frame: Frame

  /// A message of which this has come.
  init(_ first: Frame) { frame = first }

  /// Adds the next part.
  /// - Returns: false, without a change, if the message is then longer than any may be.
  mutating func append(_ part: Frame) -> Bool {
    let count = frame.count + part.count
    guard count <= Limits.Wire.message else { return false }
    if count > frame.capacity {
      let larger = Frame(capacity: min(max(count, frame.capacity * 2), Limits.Wire.message))
      memcpy(larger.base, frame.base, frame.count)
      larger.count = frame.count
      frame = larger
    }
    memcpy(frame.base + frame.count, part.base, part.count)
    frame.count = count
    return true
  }
}

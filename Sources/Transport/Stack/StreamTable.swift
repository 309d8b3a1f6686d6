import P2PFSCore

/// Which streams of an association the channels use, and how far the closing of others has come: RFC 8831 section 6.7.
///
/// ```
/// unused ─open→ open ─close→ closing ──our reset is confirmed, and the peer has reset its direction──→ unused
/// ```
/// A channel uses its stream in both directions. Whoever closes it resets its own, whereupon the other side does the
/// same. The peer may open one of its streams anew before its confirmation of our reset has come. A plain value.
struct StreamTable<Channel> {
  private struct Closing {
    var isConfirmed = false
    /// Whether our direction is to be reset once more after the confirmation: SCTP ignores a second request before it.
    var isRepeated = false
    /// Whether the peer's direction is still open.
    var awaitsPeer = true
  }

  private var channels: [UInt16: Channel] = [:]
  private var closing: [UInt16: Closing] = [:]
  private var resets: [UInt16] = []

  /// The open channels.
  var all: some Collection<Channel> { channels.values }

  /// The channel that is open on a stream.
  subscript(stream: UInt16) -> Channel? { channels[stream] }

  /// The lowest free stream of ours: the DTLS client has the even ones (RFC 8832 section 6).
  /// - Throws: `wrongState` if there are too many channels.
  func free(isClient: Bool) throws(TransportError) -> UInt16 {
    let streams = stride(from: isClient ? 0 : 1, to: UInt16(Limits.Transport.channels * 2), by: 2)
    guard channels.count < Limits.Transport.channels,
      let stream = streams.first(where: { channels[$0] == nil && closing[$0] == nil })
    else { throw .wrongState("too many channels") }
    return stream
  }

  /// The rule that the peer breaks by opening a channel on this stream; nil if it may.
  func violation(ofOpening stream: UInt16, isClient: Bool) -> String? {
    let isTheirs = (stream % 2 == 0) != isClient
    guard isTheirs, channels[stream] == nil else { return "channel \(stream) opened twice" }
    return channels.count < Limits.Transport.channels ? nil : "too many channels"
  }

  /// A channel is opened by us, on a free stream, or by the peer without a violation.
  mutating func open(_ channel: Channel, on stream: UInt16) { channels[stream] = channel }

  /// We close the channel of a stream: our direction is to be reset.
  /// - Returns: the channel; nil if none is open there.
  mutating func close(_ stream: UInt16) -> Channel? {
    guard let channel = channels.removeValue(forKey: stream) else { return nil }
    if var before = closing[stream], !before.isConfirmed {
      before.isRepeated = true
      before.awaitsPeer = true
      closing[stream] = before
    } else {
      closing[stream] = Closing()
      resets.append(stream)
    }
    return channel
  }

  /// The peer has reset its direction of these streams, or of all if there are none (RFC 6525 section 4.1).
  /// - Returns: the channels that it closes thereby. Our direction is to be reset, too.
  mutating func resetByPeer(_ streams: [UInt16]) -> [Channel] {
    (streams.isEmpty ? Array(channels.keys) + closing.keys : streams).compactMap { stream in
      let channel = close(stream)
      closing[stream]?.awaitsPeer = false
      forgetIfClosed(stream)
      return channel
    }
  }

  /// The peer has confirmed the reset of our direction.
  mutating func resetConfirmed(_ stream: UInt16) {
    guard var state = closing[stream], !state.isConfirmed else { return }
    if state.isRepeated { resets.append(stream) } else { state.isConfirmed = true }
    state.isRepeated = false
    closing[stream] = state
    forgetIfClosed(stream)
  }

  private mutating func forgetIfClosed(_ stream: UInt16) {
    guard let state = closing[stream], state.isConfirmed, !state.awaitsPeer else { return }
    closing[stream] = nil
  }

  /// The streams whose direction of ours is to be reset now; each is returned once.
  mutating func takeResets() -> [UInt16] {
    guard !resets.isEmpty else { return [] }
    defer { resets = [] }
    return resets
  }
}

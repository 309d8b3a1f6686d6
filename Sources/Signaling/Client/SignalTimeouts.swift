import P2PFSCore
import NIOCore

/// How long a client waits for its server, in seconds.
struct SignalTimeouts: Sendable {
  /// See `Limits.Signaling.answer`.
  var answer = Limits.Signaling.answer
  /// See `Limits.Signaling.ping`.
  var ping = Limits.Signaling.ping
  /// See `Limits.Signaling.pong`.
  var pong = Limits.Signaling.pong
  /// See `Limits.Signaling.probe`.
  var probe = Limits.Signaling.probe
  /// See `Limits.Signaling.dial`.
  var dial = Limits.Signaling.dial
}

extension TimeAmount {
  /// So many seconds.
  init(_ seconds: Double) { self = .nanoseconds(Int64(seconds * 1e9)) }
}

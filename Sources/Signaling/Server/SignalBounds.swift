import P2PFSCore

/// The bounds of one server, `Limits.Signaling` unless somebody wants them otherwise.
package struct SignalBounds: Sendable {
  /// See `Limits.Signaling.rooms`.
  package var rooms = Limits.Signaling.rooms
  /// See `Limits.Signaling.guests`.
  package var guests = Limits.Signaling.guests
  /// See `Limits.Signaling.connections`.
  package var connections = Limits.Signaling.connections
  /// See `Limits.Signaling.connectionsPerAddress`.
  package var connectionsPerAddress = Limits.Signaling.connectionsPerAddress
  /// See `Limits.Signaling.joinsPerMinute`.
  package var joinsPerMinute = Limits.Signaling.joinsPerMinute
  /// See `Limits.Signaling.messageBurst`.
  package var messageBurst = Limits.Signaling.messageBurst
  /// See `Limits.Signaling.byteBurst`.
  package var byteBurst = Limits.Signaling.byteBurst
  /// See `Limits.Signaling.backlog`.
  package var backlog = Limits.Signaling.backlog
  /// See `Limits.Signaling.guestBacklog`.
  package var guestBacklog = Limits.Signaling.guestBacklog
  /// See `Limits.Signaling.silence`, in seconds.
  package var silence = Limits.Signaling.silence
  /// See `Limits.Signaling.handshake`, in seconds.
  package var handshake = Limits.Signaling.handshake
  /// See `Limits.Signaling.idle`, in seconds.
  package var idle = Limits.Signaling.idle
  /// See `Limits.Signaling.reservation`, in seconds.
  package var reservation = Limits.Signaling.reservation

  /// The bounds of `Limits.Signaling`.
  package init() {}
}

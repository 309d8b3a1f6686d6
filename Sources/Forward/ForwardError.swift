package import P2PFSSession

/// The reason why a forward failed.
package enum ForwardError: Error {
  /// Listening on a local address failed; with the reason, in a few words.
  case cannotListen(String, String)
  /// The peer does not allow connections to this destination.
  case targetRefused(Endpoint)
  /// The peer does not allow listening there, or no further listener.
  case listenRefused(Endpoint)
  /// The peer allows it, but failed to listen; the reason comes from the peer: escape it.
  case cannotListenThere(Endpoint, String)
  /// The peer did not answer within `Limits.Forward.answer` seconds.
  case noAnswer
  /// The peer could not be asked, or is gone.
  case peer(SessionChannelError)
}

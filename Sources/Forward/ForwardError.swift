package import P2PFSSession

/// Why nothing can be forwarded.
package enum ForwardError: Error {
  /// An address of this computer cannot be listened at; and why, in a few words.
  case cannotListen(String, String)
  /// The other side does not allow connections to this.
  case targetRefused(Endpoint)
  /// The other side does not let anybody listen there, or not one more.
  case listenRefused(Endpoint)
  /// It would, but it cannot; the reason is the peer's: escape it.
  case cannotListenThere(Endpoint, String)
  /// The other side said nothing within `Limits.Forward.answer` seconds.
  case noAnswer
  /// The other side could not be asked, or is gone.
  case peer(SessionChannelError)
}

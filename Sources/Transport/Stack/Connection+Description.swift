import P2PFSCore

extension Connection {
  /// Makes our description, and starts gathering; later calls return the same with what was gathered since.
  func describe() throws(TransportError) -> SessionDescription {
    if let description = try state.localDescription() { return description }
    let certificate = try Certificate()
    let ice = try ICEAgent(
      owner: self, isControlling: state.role == .offerer, configuration: configuration, thread: thread)
    self.certificate = certificate
    self.ice = ice
    let (fragment, password) = ice.credentials
    state.beginDescription(fragment: fragment, password: password, fingerprint: certificate.fingerprint)
    do { try ice.gather() } catch {
      end(error)
      throw error
    }
    let (description, actions) = try state.endDescription()
    perform(actions)
    return description
  }

  /// Takes the peer's description.
  func setRemote(_ description: SessionDescription) throws(TransportError) {
    perform(try state.setRemote(description, at: .now))
  }

  /// Takes a candidate of the peer.
  func add(_ candidate: Candidate) { perform(state.addRemote(candidate)) }

  /// Takes the end of the peer's candidates.
  func endOfCandidates() { perform(state.endOfRemoteCandidates()) }
}

import P2PFSCore

extension Connection {
  /// Makes our description, and starts gathering.
  func describe() throws(TransportError) -> SessionDescription {
    if let ended { throw ended }
    if let local, isDescribed { return local }
    guard role == .offerer || remote != nil else { throw .wrongState("an answer needs an offer") }
    let certificate = try Certificate()
    self.certificate = certificate
    let ice = try ICEAgent(owner: self, isControlling: role == .offerer, configuration: configuration, thread: thread)
    self.ice = ice
    let (fragment, password) = ice.credentials
    var description = SessionDescription(
      fragment: fragment, password: password, fingerprint: certificate.fingerprint,
      setup: role == .offerer ? .actpass : (isClient ? .active : .passive))
    description.largestMessage = UInt64(Limits.Wire.message)
    if let remote { description.mediaID = remote.mediaID }
    local = description
    do { try ice.gather() } catch {
      end(error)
      throw error
    }
    isDescribed = true
    if isGathered { candidates.finish() }
    if remote != nil { useRemote() }
    return local ?? description
  }

  /// Takes the peer's description and settles who is the DTLS client: the answerer, unless the offer says otherwise
  /// (RFC 8842 section 5).
  func setRemote(_ description: SessionDescription) throws(TransportError) {
    if let ended { throw ended }
    guard remote == nil else { throw .wrongState("the peer's description is set") }
    switch (role, description.setup) {
    case (.offerer, .active): isClient = false
    case (.offerer, .passive): isClient = true
    case (.offerer, .actpass): throw .badDescription("the answer leaves the DTLS role open")
    case (.answerer, .active): isClient = false
    case (.answerer, .passive), (.answerer, .actpass): isClient = true
    }
    if role == .offerer {
      guard isDescribed else { throw .wrongState("an answer before the offer") }
    }
    guard description.largestMessage == 0 || description.largestMessage >= UInt64(Limits.Wire.data) else {
      throw .badDescription("takes messages of at most \(description.largestMessage) bytes")
    }
    remote = description
    startDeadline()
    if isDescribed { useRemote() }
  }

  private func useRemote() {
    guard let remote, let ice else { return }
    ice.setRemote(fragment: remote.fragment, password: remote.password)
    for candidate in remote.candidates + earlyCandidates { ice.add(candidate) }
    self.remote?.candidates += earlyCandidates
    earlyCandidates = []
    if remote.isComplete || remoteEnded { ice.endOfRemoteCandidates() }
  }

  /// Takes a candidate of the peer.
  func add(_ candidate: Candidate) {
    guard ended == nil else { return }
    guard let remote, let ice else {
      if earlyCandidates.count < Limits.Transport.candidates { earlyCandidates.append(candidate) }
      return
    }
    guard remote.candidates.count < Limits.Transport.candidates else { return }
    self.remote?.candidates.append(candidate)
    ice.add(candidate)
  }

  /// Takes the end of the peer's candidates.
  func endOfCandidates() {
    guard ended == nil, !remoteEnded else { return }
    remoteEnded = true
    if remote != nil { ice?.endOfRemoteCandidates() }
  }
}

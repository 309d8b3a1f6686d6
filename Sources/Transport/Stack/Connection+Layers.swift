import P2PFSCore
import Glibc
import Synchronization

extension Connection: ICEOwner {
  func ice(gathered candidate: Candidate) {
    // The peer takes no more of a kind.
    guard ended == nil, localCount.admits(candidate.kind) else { return }
    localCount.add(candidate.kind)
    local?.candidates.append(candidate)
    if isDescribed { candidates.yield(candidate) }
  }

  func iceGatheringDone() {
    isGathered = true
    local?.isComplete = true
    if isDescribed { candidates.finish() }
  }

  func iceSelectedPair() {
    guard ended == nil else { return }
    direct = ice?.directSocket()
    // A relay's path is not known: stay below what IPv6 guarantees, TURN's header included.
    payload = direct?.payload ?? 1_200
    association?.setMTU(payload - DTLS.overhead)
    guard !isSelected else { return }
    isSelected = true
    // Not within libnice's signal.
    thread.enqueue { [weak self] in self?.beginDTLS() }
  }

  private func beginDTLS() {
    guard ended == nil, dtls == nil, let certificate, let remote else { return }
    do {
      let dtls = try DTLS(owner: self, certificate: certificate, isClient: isClient, expecting: remote.fingerprint)
      self.dtls = dtls
      dtls.begin(on: thread)
      for datagram in earlyDatagrams { datagram.withUnsafeBytes { dtls.receive($0) } }
      earlyDatagrams = []
    } catch {
      end(error)
    }
  }

  func iceFailed() {
    // Before the connection is up the deadline decides: the peer may still learn of our candidates and call first.
    if isUp { end(.pathLost) }
  }

  func ice(received datagram: UnsafeRawBufferPointer) {
    guard ended == nil else { return }
    // DTLS has the first bytes 20 to 63, RFC 7983.
    guard let first = datagram.first, (20...63).contains(first) else { return }
    guard let dtls else {
      if earlyDatagrams.count < Limits.Transport.earlyDatagrams { earlyDatagrams.append(Array(datagram)) }
      return
    }
    dtls.receive(datagram)
    markDirty()
    receivedInRow += 1
    // libnice reads on as long as there is something to read; acknowledgements must not wait for that.
    if receivedInRow >= Limits.Transport.receiveBatch {
      receivedInRow = 0
      pump()
      flush()
    }
  }
}

extension Connection: DTLSOwner {
  func dtls(send datagram: UnsafeRawBufferPointer) {
    batch.add(datagram)
    if direct != nil, batch.isFull { flush() }
    markDirty()
  }

  func dtlsConnected() {
    guard ended == nil, let remote, let local else { return }
    do {
      let association = try Association(
        owner: self, carrier: self, stack: thread.stack, port: local.port, remotePort: remote.port,
        receiveBuffer: configuration.receiveBuffer)
      self.association = association
      try association.connect(mtu: payload - DTLS.overhead)
    } catch {
      end(error)
    }
  }

  func dtls(received packet: UnsafeRawBufferPointer) {
    let now = Instant.now
    lastHeard.store(now.nanoseconds, ordering: .relaxed)
    association?.input(packet, at: now)
  }

  func dtlsEnded(_ error: TransportError) { end(error) }
}

extension Connection: PacketCarrier {
  func carry(_ packet: UnsafeRawBufferPointer) { dtls?.send(packet) }
}

extension Connection: AssociationOwner {
  func associationUp() { cameUp() }
  func associationAdvanced() { markDirty() }
  func associationEnded(_ error: TransportError) { end(error) }
}

import P2PFSCore
import Glibc
import Synchronization

extension Connection: ICEOwner {
  func ice(gathered candidate: Candidate) { perform(state.gathered(candidate)) }
  func iceGatheringDone() { perform(state.gatheringDone()) }
  func iceSelectedPair() { perform(state.pairSelected()) }
  func iceFailed() { perform(state.pathFailed()) }

  /// Sends over the pair that ICE has selected from here on.
  func usePath() {
    direct = ice?.directSocket()
    // The path of a relay is not known: stay below the 1280 bytes that IPv6 guarantees, TURN's header included.
    payload = direct?.payload ?? 1_200
    association?.setMTU(payload - DTLS.overhead)
  }

  func ice(received datagram: UnsafeRawBufferPointer) {
    guard state.received(datagram) == .dtls else { return }
    dtls?.receive(datagram)
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
  /// Starts DTLS, which gets the datagrams that came before it.
  func handshake(_ isClient: Bool, _ fingerprint: Fingerprint, _ received: [[UInt8]]) {
    guard let certificate else { return }
    do {
      let dtls = try DTLS(owner: self, certificate: certificate, isClient: isClient, expecting: fingerprint)
      self.dtls = dtls
      dtls.begin(on: thread)
      for datagram in received { datagram.withUnsafeBytes { dtls.receive($0) } }
    } catch {
      end(error)
    }
  }

  func dtls(send datagram: UnsafeRawBufferPointer) {
    batch.add(datagram)
    if direct != nil, batch.isFull { flush() }
    markDirty()
  }

  func dtlsConnected() { perform(state.verified()) }

  /// Starts SCTP.
  func associate(_ port: UInt16, _ remotePort: UInt16) {
    do {
      let association = try Association(
        owner: self, carrier: self, port: port, remotePort: remotePort, receiveBuffer: configuration.receiveBuffer)
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
  func associationUp() { perform(state.associated()) }
  func associationAdvanced() { markDirty() }
  func associationEnded(_ error: TransportError) { end(error) }
}

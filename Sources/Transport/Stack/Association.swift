import CP2PFSUsrsctp
import P2PFSCore
import DequeModule
import Glibc

/// The layer below SCTP. It sends the packets of an association; received ones go to `Association.input`.
protocol PacketCarrier: AnyObject {
  /// Sends a packet to the peer. The bytes are valid during the call only. Must not call back into the association.
  func carry(_ packet: UnsafeRawBufferPointer)
}

/// The owner of an association, which it reports to. Called on the transport thread, within callbacks of usrsctp: must not
/// call back into the association.
protocol AssociationOwner: AnyObject {
  /// The association is established.
  func associationUp()
  /// A message arrived; the frame is the owner's.
  func association(received frame: Frame, stream: UInt16, protocolID: UInt32)
  /// The peer has reset its direction of these streams (incoming), of all if there are none, or has confirmed that ours
  /// is reset; RFC 6525.
  func association(reset streams: [UInt16], incoming: Bool)
  /// Data was acknowledged.
  func associationAdvanced()
  /// The peer ended the association, or violated the protocol. Not after `close`.
  func associationEnded(_ error: TransportError)
}

/// One SCTP association (RFC 9260). Data in flight is bounded by a `BandwidthDelayEstimate`. On the transport thread only.
final class Association {
  private unowned let owner: any AssociationOwner
  private unowned let carrier: any PacketCarrier
  private let stack = SCTPStack.shared
  private let socket: OpaquePointer
  private let port: UInt16
  private let remotePort: UInt16
  private(set) var token: UInt = 0
  private enum Phase {
    case connecting
    case up
    case closed
  }
  private var phase = Phase.connecting
  private var busyUntil = Instant(nanoseconds: 0)

  /// Estimates the bound of `inFlight`.
  private(set) var estimate = BandwidthDelayEstimate()
  /// Bytes given to SCTP that the peer has not acknowledged.
  private(set) var inFlight = 0 {
    didSet { stack.inFlight += inFlight - oldValue }
  }
  private var accepted = 0
  private var isApplicationLimited = true
  /// The packet whose round trip is being measured.
  private var probe: Probe?
  private var highestSent: UInt32?
  private var deliveredAt = Instant.now
  /// When each unacknowledged packet was sent, by its first sequence number; `lastDeparture` is the time of the last
  /// acknowledged one.
  private var departures = Deque<(tsn: UInt32, time: Instant)>()
  private var lastDeparture = Instant.now
  private var recovery = LossRecovery()
  private var pacer = Pacer()
  /// Messages that are delivered in parts, by stream.
  private var partial: [UInt16: PartialMessage] = [:]
  private var mtu = 0
  private struct Probe {
    let tsn: UInt32
    let sent: Instant
    /// When it was sent: bytes delivered so far, the time of their last acknowledgement, and the departure of the last
    /// acknowledged packet.
    let delivered: Int
    let deliveredAt: Instant
    let lastDeparture: Instant
  }

  private static let buffer = Int32(Limits.Transport.flight * 2)
  private let receiveBuffer: Int

  init(
    owner: any AssociationOwner, carrier: any PacketCarrier, port: UInt16, remotePort: UInt16, receiveBuffer: Int
  ) throws(TransportError) {
    self.owner = owner
    self.carrier = carrier
    self.port = port
    self.remotePort = remotePort
    self.receiveBuffer = receiveBuffer
    // The callbacks find the association by its number, which is set below, before any packet can come.
    guard
      let socket = usrsctp_socket(
        AF_CONN, p2pfs_usrsctp_stream(), Int32(IPPROTO_SCTP),
        { _, _, data, length, information, flags, token in
          guard let association = SCTPStack.shared[token] else {
            free(data)
            return 1
          }
          association.received(data, length, information, flags)
          return 1
        },
        { _, space, token in
          SCTPStack.shared[token]?.advanced(space: space)
          return 1
        }, 0, nil)
    else { throw .resources("no SCTP socket") }
    self.socket = socket
    token = stack.add(self)
    usrsctp_set_ulpinfo(socket, UnsafeMutableRawPointer(bitPattern: token))
    guard configure(), setReceiveBuffer(max(receiveBuffer, Limits.Transport.firstWindow)) else {
      close()
      throw .resources("SCTP options: errno \(errno)")
    }
  }

  deinit { precondition(phase == .closed, "an association must be closed before it goes") }

  private func set<Value>(_ level: Int32, _ option: Int32, _ value: Value) -> Bool {
    withUnsafeBytes(of: value) {
      usrsctp_setsockopt(socket, level, option, $0.baseAddress, socklen_t($0.count)) == 0
    }
  }

  private func configure() -> Bool {
    let sctp = Int32(IPPROTO_SCTP)
    // Streams: enough for the channels we allow; both sides may ask for more later (RFC 8831 section 6.2).
    let streams = UInt16(Limits.Transport.channels * 2)
    var good = usrsctp_set_non_blocking(socket, 1) == 0
    good = good && set(SOL_SOCKET, SO_SNDBUF, Self.buffer)
    good = good && set(SOL_SOCKET, SO_LINGER, linger(l_onoff: 1, l_linger: 0))  // close aborts: RFC 8831 section 6.2
    good = good && set(sctp, SCTP_NODELAY, Int32(1))
    good =
      good
      && set(
        sctp, SCTP_INITMSG,
        sctp_initmsg(
          sinit_num_ostreams: streams, sinit_max_instreams: 2_048, sinit_max_attempts: 12, sinit_max_init_timeo: 3_000))
    good =
      good
      && set(
        sctp, SCTP_ENABLE_STREAM_RESET,
        sctp_assoc_value(
          assoc_id: UInt32(SCTP_ALL_ASSOC), assoc_value: UInt32(SCTP_ENABLE_RESET_STREAM_REQ)))
    good =
      good
      && set(
        sctp, SCTP_PLUGGABLE_SS,
        sctp_assoc_value(assoc_id: UInt32(SCTP_ALL_ASSOC), assoc_value: UInt32(SCTP_SS_ROUND_ROBIN)))
    for event in [SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT] {
      good =
        good
        && set(
          sctp, SCTP_EVENT, sctp_event(se_assoc_id: UInt32(SCTP_ALL_ASSOC), se_type: UInt16(event), se_on: 1))
    }
    return good
  }

  /// Sets the receive buffer in bytes, which SCTP announces to the peer as its window: it holds data out of order and
  /// partial messages. Must not shrink once data has come.
  /// - Returns: whether it could be set.
  @discardableResult
  func setReceiveBuffer(_ bytes: Int) -> Bool { set(SOL_SOCKET, SO_RCVBUF, Int32(clamping: bytes)) }

  private func address(_ port: UInt16) -> sockaddr_conn {
    p2pfs_conn_address(UnsafeMutableRawPointer(bitPattern: token), port)
  }

  /// Sends INIT. Both sides do (RFC 8831 section 6.2); SCTP makes one association of it.
  func connect(mtu: Int) throws(TransportError) {
    stack.ensureFastTicks()
    var local = address(port)
    var remote = address(remotePort)
    let size = socklen_t(MemoryLayout<sockaddr_conn>.size)
    let bound = withUnsafeMutablePointer(to: &local) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { usrsctp_bind(socket, $0, size) }
    }
    guard bound == 0 else { throw .resources("SCTP bind: errno \(errno)") }
    let connected = withUnsafeMutablePointer(to: &remote) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { usrsctp_connect(socket, $0, size) }
    }
    guard connected == 0 || errno == EINPROGRESS else { throw .resources("SCTP connect: errno \(errno)") }
    setMTU(mtu)
  }

  /// Sets the largest packet, SCTP's header included. Data that is already cut into chunks keeps their size.
  func setMTU(_ bytes: Int) {
    guard bytes != mtu else { return }
    mtu = bytes
    var remote = address(remotePort)
    // usrsctp adds its common header of 12 bytes itself. Multiples of 4, as chunks are.
    _ = p2pfs_set_path_mtu(socket, &remote, UInt32((bytes - 12) & ~3))
  }

  /// A packet from the peer.
  func input(_ packet: UnsafeRawBufferPointer, at now: Instant) {
    guard phase != .closed else { return }
    stack.ensureFastTicks()
    // Delayed acknowledgements leave up to 20 ms after data: tick until then.
    busyUntil = max(busyUntil, now.advanced(by: 0.1))
    let sack = SCTPPacket(packet).cumulativeAcknowledgement
    if let sack {
      guard recovery.takes(packet, cumulative: sack, at: now, roundTrip: estimate.roundTrip) else { return }
      while let first = departures.first, Int32(bitPattern: sack &- first.tsn) >= 0 {
        lastDeparture = first.time
        departures.removeFirst()
      }
    }
    let before = inFlight
    usrsctp_conninput(UnsafeMutableRawPointer(bitPattern: token), packet.baseAddress, packet.count, 0)
    if let probe, let sack, Int32(bitPattern: sack &- probe.tsn) >= 0 {
      self.probe = nil
      estimate.addRound(
        roundTrip: now.seconds(since: probe.sent), delivered: accepted - inFlight - probe.delivered,
        over: max(now.seconds(since: probe.deliveredAt), probe.sent.seconds(since: probe.lastDeparture)),
        isLimited: isApplicationLimited, at: now)
      isApplicationLimited = false
    }
    if inFlight != before { deliveredAt = now }
  }

  /// A packet from usrsctp for the peer.
  func output(_ packet: UnsafeRawBufferPointer) {
    if let tsn = SCTPPacket(packet).dataNumber {
      if highestSent.map({ Int32(bitPattern: tsn &- $0) > 0 }) ?? true {
        highestSent = tsn
        let now = Instant.now
        departures.append((tsn, now))
        if probe == nil {
          probe = Probe(
            tsn: tsn, sent: now, delivered: accepted - inFlight, deliveredAt: deliveredAt, lastDeparture: lastDeparture)
        }
      } else {
        recovery.begin(until: highestSent ?? tsn)
        // A retransmission: an acknowledgement could be for either copy (Karn's algorithm).
        if probe?.tsn == tsn { probe = nil }
      }
    }
    carrier.carry(packet)
  }

  /// The answer to whether a message may be sent.
  enum Admission {
    case now
    /// Not before more is acknowledged.
    case later
    /// Not before this many seconds have passed.
    case after(Double)
  }

  /// Whether `count` more bytes may be sent now, by the window and by the pacer. With nothing in flight the window admits
  /// any message.
  func admits(_ count: Int) -> Admission {
    guard phase == .up, inFlight == 0 || inFlight + count <= estimate.window && stack.admits(count, behind: inFlight)
    else {
      return .later
    }
    let wait = pacer.take(count, rate: estimate.pace, at: .now)
    return wait == 0 ? .now : .after(wait)
  }

  /// Everything queued was sent and there is room for more: the rate measured now may be the application's, not the
  /// path's.
  func markApplicationLimited() { isApplicationLimited = true }

  /// Gives a message to SCTP. Not within a callback of the owner.
  /// - Returns: whether it was taken; if not, try again when data was acknowledged.
  func send(_ bytes: UnsafeRawBufferPointer, stream: UInt16, protocolID: UInt32) -> Bool {
    guard phase == .up else { return true }  // dropped: the association is over
    stack.ensureFastTicks()
    var information = sctp_sndinfo()
    information.snd_sid = stream
    information.snd_ppid = protocolID.bigEndian
    let sent = usrsctp_sendv(
      socket, bytes.baseAddress, bytes.count, nil, 0, &information, socklen_t(MemoryLayout<sctp_sndinfo>.size),
      UInt32(SCTP_SENDV_SNDINFO), 0)
    guard sent >= 0 else { return errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM }
    accepted += bytes.count
    inFlight += bytes.count
    return true
  }

  /// Resets our direction of a stream (RFC 6525) when what was sent on it is acknowledged. SCTP puts the request off
  /// while another one is under way. Fails only where the peer has no such stream, or cannot reset any. Not within a
  /// callback of the owner.
  func reset(_ stream: UInt16) {
    guard phase == .up else { return }
    stack.ensureFastTicks()
    busyUntil = Instant.now.advanced(by: 5)
    _ = p2pfs_reset_outgoing_stream(socket, stream)
  }

  /// Aborts the association and frees it. Not within a callback.
  func close() {
    guard phase != .closed else { return }
    phase = .closed
    inFlight = 0
    usrsctp_close(socket)
    stack.remove(token)
  }

  /// Whether its timers need 10 ms resolution.
  func isBusy(at now: Instant) -> Bool { phase == .connecting || inFlight > 0 || now < busyUntil }

  /// Whether data is in flight and some was acknowledged within the last 100 ms.
  func isProgressing(at now: Instant) -> Bool { phase == .up && inFlight > 0 && now.seconds(since: deliveredAt) < 0.1 }

  /// SCTP's smoothed round trip in seconds; 0 if not known.
  var roundTrip: Double {
    var status = sctp_status()
    var size = socklen_t(MemoryLayout<sctp_status>.size)
    guard phase != .closed, usrsctp_getsockopt(socket, Int32(IPPROTO_SCTP), SCTP_STATUS, &status, &size) == 0 else {
      return 0
    }
    return Double(status.sstat_primary.spinfo_srtt) / 1e3
  }

  private func advanced(space: UInt32) {
    inFlight = max(0, Int(Self.buffer) - Int(Int32(bitPattern: space)))
    owner.associationAdvanced()
  }

  private func received(_ data: UnsafeMutableRawPointer?, _ length: Int, _ information: sctp_rcvinfo, _ flags: Int32) {
    guard let data else {
      // End of file on the socket: the peer is gone.
      if phase != .closed { owner.associationEnded(.closedByPeer) }
      return
    }
    guard phase != .closed else { return free(data) }
    if flags & Int32(MSG_NOTIFICATION) != 0 {
      notified(UnsafeRawBufferPointer(start: data, count: length))
      free(data)
      return
    }
    let stream = information.rcv_sid
    var frame = Frame(adopting: data, count: length)
    var isTooLong = frame.count > Limits.Wire.message
    if !partial.isEmpty, var message = partial.removeValue(forKey: stream) {
      isTooLong = !message.append(frame)
      frame = message.frame
    }
    guard !isTooLong else {
      return owner.associationEnded(.violation("a message of more than \(Limits.Wire.message) bytes"))
    }
    guard flags & Int32(MSG_EOR) != 0 else {
      partial[stream] = PartialMessage(frame)
      return
    }
    owner.association(received: frame, stream: stream, protocolID: UInt32(bigEndian: information.rcv_ppid))
  }

  private func notified(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 8 else { return }
    switch Int32(bytes.loadUnaligned(as: UInt16.self)) {
    case SCTP_ASSOC_CHANGE:
      guard bytes.count >= MemoryLayout<sctp_assoc_change>.size else { return }
      switch Int32(bytes.loadUnaligned(as: sctp_assoc_change.self).sac_state) {
      case SCTP_COMM_UP:
        phase = .up
        // The peer has taken the window of INIT as the end of its slow start. No data has come yet.
        if receiveBuffer < Limits.Transport.firstWindow { setReceiveBuffer(receiveBuffer) }
        owner.associationUp()
      case SCTP_COMM_LOST, SCTP_SHUTDOWN_COMP, SCTP_CANT_STR_ASSOC: owner.associationEnded(.closedByPeer)
      default: break
      }
    case SCTP_STREAM_RESET_EVENT:
      let event = bytes.baseAddress!.assumingMemoryBound(to: sctp_stream_reset_event.self)
      let flags = Int32(event.pointee.strreset_flags)
      guard flags & (SCTP_STREAM_RESET_DENIED | SCTP_STREAM_RESET_FAILED) == 0 else { return }
      let count = p2pfs_reset_event_count(event)
      guard bytes.count >= MemoryLayout<sctp_stream_reset_event>.size + Int(count) * 2 else { return }
      let streams = (0..<count).map { p2pfs_reset_event_stream(event, $0) }
      owner.association(reset: streams, incoming: flags & SCTP_STREAM_RESET_INCOMING_SSN != 0)
    default: break
    }
  }
}

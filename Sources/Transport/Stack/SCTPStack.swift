import CP2PFSUsrsctp
import P2PFSCore
import Glibc

/// usrsctp, of which a process has one: its options, its clock, and the associations that its callbacks mean. On the
/// transport thread only.
///
/// Callbacks of usrsctp carry a number instead of a pointer, because timers of an association may outlive it: calls
/// with an unknown number are ignored.
final class SCTPStack {
  /// The stack. It starts at first use.
  // Used on the transport thread only.
  nonisolated(unsafe) static let shared = SCTPStack()

  private var associations: [UInt: Association] = [:]
  private var nextToken: UInt = 1
  private var lastTick = Instant.now
  private var isFast = false
  private var timer: Timer?
  /// Unacknowledged bytes of all associations together.
  var inFlight = 0

  private init() {
    p2pfs_usrsctp_init { token, bytes, length, _, _ in
      let token = UInt(bitPattern: token)
      SCTPStack.shared.associations[token]?.output(UnsafeRawBufferPointer(start: bytes, count: length))
      return 0
    }
    // The stack's own defaults are those of 2007; these follow RFC 9260 unless a comment says why not.
    usrsctp_sysctl_set_sctp_ecn_enable(0)  // there is no IP header for it
    usrsctp_sysctl_set_sctp_asconf_enable(0)
    usrsctp_sysctl_set_sctp_auth_enable(0)
    usrsctp_sysctl_set_sctp_pr_enable(1)  // RFC 8831 section 6.1 asks that it be offered
    usrsctp_sysctl_set_sctp_recvspace(UInt32(Limits.Transport.flight))
    usrsctp_sysctl_set_sctp_sendspace(UInt32(Limits.Transport.flight) * 2)
    // 65,536 chunks of a packet: more than what may be in flight. Our own limit binds first.
    usrsctp_sysctl_set_sctp_max_chunks_on_queue(65_536)
    usrsctp_sysctl_set_sctp_initial_cwnd(10)  // RFC 6928
    usrsctp_sysctl_set_sctp_L2_abc_variable(4)  // doubles each round trip although acknowledgements are delayed
    // A loss takes a third of a large window instead of half (RFC 3649): with what is in flight bounded at 1.25 of
    // the path's product, one loss then costs nothing.
    usrsctp_sysctl_set_sctp_default_cc_module(UInt32(SCTP_CC_HSTCP))
    // Our pacer limits bursts. With usrsctp's limits each pause of the sender shrinks its window for good.
    usrsctp_sysctl_set_sctp_max_burst_default(0)
    usrsctp_sysctl_set_sctp_use_cwnd_based_maxburst(0)
    usrsctp_sysctl_set_sctp_fr_max_burst_default(32)
    usrsctp_sysctl_set_sctp_delayed_sack_time_default(20)
    usrsctp_sysctl_set_sctp_rto_min_default(200)
    usrsctp_sysctl_set_sctp_rto_initial_default(500)
    usrsctp_sysctl_set_sctp_rto_max_default(3_000)
    usrsctp_sysctl_set_sctp_init_rto_max_default(3_000)
    // ICE detects the loss of the path; until then data is kept and retransmitted: 60 times, at most 3 s apart.
    usrsctp_sysctl_set_sctp_assoc_rtx_max_default(60)
    usrsctp_sysctl_set_sctp_path_rtx_max_default(60)
    usrsctp_sysctl_set_sctp_init_rtx_max_default(12)
    usrsctp_sysctl_set_sctp_max_retran_chunk(0)  // a burst of losses sends one chunk 30 times within a second
    timer = Timer(on: .shared) { [unowned self] in tick() }
    timer?.set(after: 1)
  }

  /// Registers an association.
  /// - Returns: its number.
  func add(_ association: Association) -> UInt {
    let token = nextToken
    nextToken += 1
    associations[token] = association
    usrsctp_register_address(UnsafeMutableRawPointer(bitPattern: token))
    return token
  }

  /// Removes an association; later callbacks for it are ignored.
  func remove(_ token: UInt) {
    associations[token] = nil
    usrsctp_deregister_address(UnsafeMutableRawPointer(bitPattern: token))
  }

  /// Whether an association with `flight` unacknowledged bytes may send `count` more: `Limits.Transport.sureFlight` is
  /// always allowed, a single association has no limit here, several share `Limits.Transport.flightPool`.
  func admits(_ count: Int, behind flight: Int) -> Bool {
    flight + count <= Limits.Transport.sureFlight || associations.count == 1
      || inFlight + count <= Limits.Transport.flightPool
  }

  /// The association with the number that a callback carries.
  subscript(token: UnsafeMutableRawPointer?) -> Association? { associations[UInt(bitPattern: token)] }

  /// Updates usrsctp's clock and has it tick every 10 ms from here on. To be called before anything is given to usrsctp.
  func ensureFastTicks() {
    guard !isFast else { return }
    advance()
    isFast = true
    timer?.set(after: 0.01)
  }

  private func tick() {
    advance()
    // With nothing in flight only slow timers run; an idle process must not wake up a hundred times a second.
    let now = Instant.now
    isFast = associations.values.contains { $0.isBusy(at: now) }
    timer?.set(after: isFast ? 0.01 : 1)
  }

  private func advance() {
    let now = Instant.now
    var milliseconds = Int(now.seconds(since: lastTick) * 1e3)
    guard milliseconds > 0 else { return }
    lastTick = Instant(nanoseconds: lastTick.nanoseconds + UInt64(milliseconds) * 1_000_000)
    if isFast {
      // usrsctp does not restart its retransmission timer (T3) when something is acknowledged, as RFC 9260 section
      // 6.3.2 asks: it fires all the time, and then takes for lost what is only a little older than the smoothed round
      // trip. That costs the whole congestion window. So its clock stands still while everybody who waits for
      // acknowledgements gets some; delayed acknowledgements of our own leave with the next data.
      let busy = associations.values.filter { $0.isBusy(at: now) }
      if !busy.isEmpty, busy.allSatisfy({ $0.isProgressing(at: now) }) { return }
      // A stall of this thread is not the network's silence: what came in meanwhile is still to be read.
      milliseconds = min(milliseconds, 20)
    }
    usrsctp_handle_timers(UInt32(min(milliseconds, 3_600_000)))
  }
}

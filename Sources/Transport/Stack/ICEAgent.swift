import CP2PFSNice
import P2PFSCore
import Glibc

/// The owner of an ICE agent, which it reports to. Called on the transport thread.
protocol ICEOwner: AnyObject {
  /// A local candidate was gathered.
  func ice(gathered candidate: Candidate)
  /// All local candidates were gathered.
  func iceGatheringDone()
  /// A pair was selected: the first, or a better one.
  func iceSelectedPair()
  /// Every pair failed, or the peer's consent expired (RFC 7675).
  func iceFailed()
  /// A datagram that is not STUN arrived. The bytes are valid during the call only.
  func ice(received datagram: UnsafeRawBufferPointer)
}

/// One libnice agent with one stream of one component: RFC 8445 over UDP, trickling, with consent freshness.
///
/// Runs on the transport thread: its signals and datagrams come from sources of that thread's context.
final class ICEAgent {
  private weak var owner: (any ICEOwner)?
  private var agent: OpaquePointer?
  private var stream: guint = 0
  private var signals: [gulong] = []
  private let thread: TransportThread
  private let configuration: ICEConfiguration
  private let network = LocalNetwork.current
  private var remote = CandidateCount()

  init(owner: any ICEOwner, isControlling: Bool, configuration: ICEConfiguration, thread: TransportThread)
    throws(TransportError)
  {
    self.owner = owner
    self.thread = thread
    self.configuration = configuration
    guard let agent = p2pfs_nice_agent_new(thread.context) else { throw .resources("no ICE agent") }
    self.agent = agent
    p2pfs_set_boolean(agent, "controlling-mode", isControlling ? 1 : 0)
    p2pfs_set_boolean(agent, "ice-tcp", 0)
    p2pfs_set_boolean(agent, "upnp", 0)
    p2pfs_set_boolean(agent, "keepalive-conncheck", 1)
    p2pfs_set_boolean(agent, "force-relay", configuration.relayOnly ? 1 : 0)
    p2pfs_set_unsigned(agent, "max-connectivity-checks", guint(Limits.Transport.checks))
    // Checks every 5 ms instead of 20: with the few candidates of two hosts that halves the time to connect.
    p2pfs_set_unsigned(agent, "stun-pacing-timer", 5)
    if let server = configuration.servers.first(where: { $0.kind == .stun }) {
      p2pfs_set_string(agent, "stun-server", server.host)
      p2pfs_set_unsigned(agent, "stun-server-port", guint(server.port))
    }
    addLocalAddresses()
    stream = nice_agent_add_stream(agent, 1)
    guard stream != 0 else {
      g_object_unref(UnsafeMutableRawPointer(agent))
      throw .resources("no ICE stream")
    }
    for server in configuration.servers.filter({ $0.kind != .stun }).prefix(Int(NICE_CANDIDATE_MAX_TURN_SERVERS)) {
      nice_agent_set_relay_info(
        agent, stream, 1, server.host, guint(server.port), server.username ?? "", server.credential ?? "",
        server.kind == .turnTCP ? NICE_RELAY_TYPE_TURN_TCP : NICE_RELAY_TYPE_TURN_UDP)
    }
    connectSignals(agent)
    nice_agent_attach_recv(
      agent, stream, 1, thread.context,
      { _, _, _, length, bytes, data in
        Unmanaged<ICEAgent>.fromOpaque(data!).takeUnretainedValue().owner?.ice(
          received: UnsafeRawBufferPointer(start: bytes, count: Int(length)))
      }, me)
  }

  deinit { precondition(agent == nil, "an ICE agent must be closed before it goes") }

  // Unretained: `close` disconnects every callback that holds it before `self` is released, on the same thread.
  private var me: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

  /// Starts gathering. Host candidates are reported before it returns.
  /// - Throws: `resources` if there is no local address.
  func gather() throws(TransportError) {
    guard nice_agent_gather_candidates(agent, stream) != 0 else { throw .resources("no local address") }
  }

  /// Our user name fragment and password (RFC 8839 section 5.4).
  var credentials: (fragment: String, password: String) {
    var fragment: UnsafeMutablePointer<CChar>?
    var password: UnsafeMutablePointer<CChar>?
    nice_agent_get_local_credentials(agent, stream, &fragment, &password)
    defer {
      g_free(fragment)
      g_free(password)
    }
    return (fragment.map { String(cString: $0) } ?? "", password.map { String(cString: $0) } ?? "")
  }

  /// Sets the peer's credentials. Must come before its candidates.
  func setRemote(fragment: String, password: String) {
    nice_agent_set_remote_credentials(agent, stream, fragment, password)
  }

  /// Adds a candidate of the peer. Ignored: candidates beyond the limit of their kind, names instead of addresses,
  /// link-local addresses, and addresses that our relays must not send to (`LocalNetwork.isWanted`).
  func add(_ candidate: Candidate) {
    guard let agent, network.isWanted(candidate.address, relays: relays), remote.admits(candidate.kind) else { return }
    guard let native = nice_candidate_new(candidate.kind.native) else { return }
    defer { nice_candidate_free(native) }
    guard nice_address_set_from_string(&native.pointee.addr, candidate.address) != 0, !candidate.isLinkLocal
    else { return }
    nice_address_set_port(&native.pointee.addr, guint(candidate.port))
    native.pointee.transport = NICE_CANDIDATE_TRANSPORT_UDP
    native.pointee.priority = candidate.priority
    native.pointee.stream_id = stream
    native.pointee.component_id = 1
    p2pfs_candidate_set_foundation(native, candidate.foundation)
    if let related = candidate.relatedAddress, nice_address_set_from_string(&native.pointee.base_addr, related) != 0 {
      nice_address_set_port(&native.pointee.base_addr, guint(candidate.relatedPort ?? 0))
    }
    remote.add(candidate.kind)
    let list = g_slist_append(nil, native)
    nice_agent_set_remote_candidates(agent, stream, 1, list)
    g_slist_free(list)
  }

  /// The peer has no more candidates.
  func endOfRemoteCandidates() { nice_agent_peer_candidate_gathering_done(agent, stream) }

  /// The selected pair.
  var selectedPair: (local: Candidate, remote: Candidate)? {
    var local: UnsafeMutablePointer<NiceCandidate>?
    var remote: UnsafeMutablePointer<NiceCandidate>?
    guard let agent, nice_agent_get_selected_pair(agent, stream, 1, &local, &remote) != 0, let local, let remote
    else { return nil }
    return (Candidate(local), Candidate(remote))
  }

  /// The TURN server of the selected pair's local candidate, if it is relayed.
  var selectedServer: String? {
    var local: UnsafeMutablePointer<NiceCandidate>?
    var remote: UnsafeMutablePointer<NiceCandidate>?
    guard let agent, nice_agent_get_selected_pair(agent, stream, 1, &local, &remote) != 0, let local,
      local.pointee.type == NICE_CANDIDATE_TYPE_RELAYED
    else { return nil }
    var address = NiceAddress()
    nice_candidate_relay_address(local, &address)
    return address.text
  }

  /// The socket of the selected pair, if it is a direct one over UDP.
  func directSocket() -> DirectSocket? {
    var local: UnsafeMutablePointer<NiceCandidate>?
    var remote: UnsafeMutablePointer<NiceCandidate>?
    guard let agent, let socket = nice_agent_get_selected_socket(agent, stream, 1),
      nice_agent_get_selected_pair(agent, stream, 1, &local, &remote) != 0, let remote
    else { return nil }
    let address = UnsafeRawBufferPointer(
      start: p2pfs_address_bytes(&remote.pointee.addr), count: Int(p2pfs_address_length(&remote.pointee.addr)))
    return DirectSocket(socket, to: Array(address))
  }

  /// Sends one datagram over the selected pair.
  func send(_ datagram: UnsafeRawBufferPointer) {
    nice_agent_send(
      agent, stream, 1, guint(datagram.count), datagram.baseAddress?.assumingMemoryBound(to: CChar.self))
  }

  /// Closes the agent. The owner is not called any more; TURN allocations are released in the background. Not within a
  /// callback.
  func close() {
    guard let agent else { return }
    self.agent = nil
    for signal in signals { g_signal_handler_disconnect(UnsafeMutableRawPointer(agent), signal) }
    nice_agent_attach_recv(agent, stream, 1, thread.context, nil, nil)
    nice_agent_remove_stream(agent, stream)
    nice_agent_close_async(agent, { agent, _, _ in g_object_unref(agent) }, nil)
  }

  /// The hosts of the TURN servers.
  private var relays: [String] { configuration.servers.filter { $0.kind != .stun }.map(\.host) }

  /// Sets the addresses to gather. By itself libnice takes the first ones in the kernel's order and never a loopback
  /// address, so a computer without a network would have no candidate.
  private func addLocalAddresses() {
    var addresses = network.offered
    if configuration.includesLoopback || addresses.isEmpty { addresses.append("127.0.0.1") }
    for text in addresses {
      var address = NiceAddress()
      nice_address_init(&address)
      if nice_address_set_from_string(&address, text) != 0 { nice_agent_add_local_address(agent, &address) }
    }
  }

  private func connectSignals(_ agent: OpaquePointer) {
    typealias Full =
      @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<NiceCandidate>?, UnsafeMutableRawPointer?
      ) -> Void
    typealias Done = @convention(c) (OpaquePointer?, guint, UnsafeMutableRawPointer?) -> Void
    typealias State =
      @convention(c) (
        OpaquePointer?, guint, guint, guint, UnsafeMutableRawPointer?
      ) -> Void
    typealias Pair =
      @convention(c) (
        OpaquePointer?, guint, guint, UnsafeMutablePointer<NiceCandidate>?,
        UnsafeMutablePointer<NiceCandidate>?, UnsafeMutableRawPointer?
      ) -> Void
    let gathered: Full = { _, candidate, data in
      // A link-local address is of no use without its interface, which a candidate cannot name.
      guard let native = candidate, native.pointee.transport == NICE_CANDIDATE_TRANSPORT_UDP else { return }
      let candidate = Candidate(native)
      guard !candidate.isLinkLocal else { return }
      Unmanaged<ICEAgent>.fromOpaque(data!).takeUnretainedValue().owner?.ice(gathered: candidate)
    }
    let done: Done = { _, _, data in
      Unmanaged<ICEAgent>.fromOpaque(data!).takeUnretainedValue().owner?.iceGatheringDone()
    }
    let state: State = { _, _, _, state, data in
      let ice = Unmanaged<ICEAgent>.fromOpaque(data!).takeUnretainedValue()
      if state == NICE_COMPONENT_STATE_FAILED.rawValue { ice.owner?.iceFailed() }
    }
    let pair: Pair = { _, _, _, _, _, data in
      Unmanaged<ICEAgent>.fromOpaque(data!).takeUnretainedValue().owner?.iceSelectedPair()
    }
    signals = [
      p2pfs_signal_connect(agent, "new-candidate-full", unsafeBitCast(gathered, to: GCallback.self), me),
      p2pfs_signal_connect(agent, "candidate-gathering-done", unsafeBitCast(done, to: GCallback.self), me),
      p2pfs_signal_connect(agent, "component-state-changed", unsafeBitCast(state, to: GCallback.self), me),
      p2pfs_signal_connect(agent, "new-selected-pair-full", unsafeBitCast(pair, to: GCallback.self), me),
    ]
  }
}

extension Candidate {
  /// Converts a candidate of libnice.
  init(_ native: UnsafeMutablePointer<NiceCandidate>) {
    let kind = Kind(native.pointee.type)
    self.init(
      foundation: String(cString: p2pfs_candidate_foundation(native)), priority: native.pointee.priority,
      address: native.pointee.addr.text, port: UInt16(truncatingIfNeeded: nice_address_get_port(&native.pointee.addr)),
      kind: kind)
    if kind != .host {
      relatedAddress = native.pointee.base_addr.text
      relatedPort = UInt16(truncatingIfNeeded: nice_address_get_port(&native.pointee.base_addr))
    }
  }
}

extension Candidate.Kind {
  fileprivate init(_ native: NiceCandidateType) {
    switch native {
    case NICE_CANDIDATE_TYPE_HOST: self = .host
    case NICE_CANDIDATE_TYPE_SERVER_REFLEXIVE: self = .srflx
    case NICE_CANDIDATE_TYPE_PEER_REFLEXIVE: self = .prflx
    default: self = .relay
    }
  }

  fileprivate var native: NiceCandidateType {
    switch self {
    case .host: NICE_CANDIDATE_TYPE_HOST
    case .srflx: NICE_CANDIDATE_TYPE_SERVER_REFLEXIVE
    case .prflx: NICE_CANDIDATE_TYPE_PEER_REFLEXIVE
    case .relay: NICE_CANDIDATE_TYPE_RELAYED
    }
  }
}

extension NiceAddress {
  /// The address without the port.
  fileprivate var text: String {
    var copy = self
    guard let text = nice_address_dup_string(&copy) else { return "" }
    defer { g_free(text) }
    return String(cString: text)
  }
}

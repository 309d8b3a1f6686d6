import CP2PFSOpenSSL
import P2PFSCore
import Glibc

/// The owner of a DTLS connection, which it reports to. Called on the transport thread.
protocol DTLSOwner: AnyObject {
  /// Sends a datagram to the peer. The bytes are valid during the call only.
  func dtls(send datagram: UnsafeRawBufferPointer)
  /// The handshake is done, and the peer's certificate has the announced fingerprint.
  func dtlsConnected()
  /// A packet arrived and was decrypted. The bytes are valid during the call only.
  func dtls(received packet: UnsafeRawBufferPointer)
  /// The connection failed, or the peer closed it. Called at most once; not after `close`.
  func dtlsEnded(_ error: TransportError)
}

/// One DTLS 1.2 connection (RFC 6347) over datagrams that its owner sends and receives. On the transport thread only.
///
/// The peer's certificate is compared with the announced fingerprint during the handshake, so data of an unverified peer
/// is never passed to the owner.
final class DTLS {
  /// What a record adds to a packet: 13 bytes of header, 8 of nonce, 16 of tag (AES-GCM, RFC 5288).
  static let overhead = 37

  private unowned let owner: any DTLSOwner
  private let context: OpaquePointer
  private let ssl: OpaquePointer
  private let expected: Fingerprint
  private var retransmission: Timer?
  /// The datagram that the read BIO gives to OpenSSL next.
  private var incoming = UnsafeRawBufferPointer(start: nil, count: 0)
  private let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: 16_384, alignment: 16)
  private enum Phase {
    case handshaking
    case connected
    case ended
  }
  private var phase = Phase.handshaking
  /// Whether the peer showed another certificate than it announced.
  private var mismatch = false

  /// Creates a connection; `begin` starts the handshake.
  /// - Throws: `resources`.
  init(owner: any DTLSOwner, certificate: Certificate, isClient: Bool, expecting fingerprint: Fingerprint)
    throws(TransportError)
  {
    self.owner = owner
    expected = fingerprint
    guard let context = SSL_CTX_new(DTLS_method()) else { throw .resources("no DTLS context") }
    guard
      SSL_CTX_use_certificate(context, certificate.certificate) == 1,
      SSL_CTX_use_PrivateKey(context, certificate.key) == 1,
      SSL_CTX_set_cipher_list(
        context, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305") == 1
    else {
      SSL_CTX_free(context)
      throw .resources("no DTLS context")
    }
    p2pfs_dtls_only_1_2(context)
    // No media is sent, but aiortc refuses a handshake without a negotiated SRTP profile (RFC 5764).
    SSL_CTX_set_tlsext_use_srtp(context, "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80")
    p2pfs_dtls_set_options(context)
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    guard let ssl = SSL_new(context), let read = BIO_new(Self.method), let write = BIO_new(Self.method) else {
      SSL_CTX_free(context)
      throw .resources("no DTLS connection")
    }
    self.context = context
    self.ssl = ssl
    let me = Unmanaged.passUnretained(self).toOpaque()
    // The callbacks reach `self` unretained: OpenSSL calls only within our calls of it, and deinit frees `ssl`.
    BIO_set_data(read, me)
    BIO_set_data(write, me)
    SSL_CTX_set_cert_verify_callback(
      context,
      { store, data in
        let dtls = Unmanaged<DTLS>.fromOpaque(data!).takeUnretainedValue()
        return dtls.verify(store!) ? 1 : 0
      }, me)
    SSL_set_bio(ssl, read, write)
    p2pfs_dtls_set_mtu(ssl, 1_200)
    if isClient { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
    DTLS_set_timer_cb(ssl) { _, last in
      // First after 200 ms instead of 1 s: a lost flight must not cost a second. Then doubling up to 3 s.
      last == 0 ? 200_000 : min(last * 2, 3_000_000)
    }
  }

  deinit {
    SSL_free(ssl)
    SSL_CTX_free(context)
    plaintext.deallocate()
  }

  /// Begins the handshake: as the client by sending, as the server by listening.
  func begin(on thread: TransportThread) {
    retransmission = Timer(on: thread) { [weak self] in self?.retransmit() }
    handshake()
  }

  /// A datagram from the peer.
  func receive(_ datagram: UnsafeRawBufferPointer) {
    incoming = datagram
    defer { incoming = UnsafeRawBufferPointer(start: nil, count: 0) }
    if phase == .handshaking { handshake() }
    // A datagram may hold several records, and the handshake's last one may be followed by data.
    while phase == .connected {
      let count = SSL_read(ssl, plaintext.baseAddress, 16_384)
      if count > 0 {
        owner.dtls(received: UnsafeRawBufferPointer(rebasing: plaintext[..<Int(count)]))
        if incoming.isEmpty, SSL_has_pending(ssl) == 0 { return }
        continue
      }
      let error = SSL_get_error(ssl, count)
      switch error {
      case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE:
        if incoming.isEmpty { return }
      case SSL_ERROR_ZERO_RETURN: return end(.closedByPeer)
      default:
        ERR_clear_error()
        // OpenSSL drops records that do not authenticate; an error here is an alert of the peer.
        return end(.closedByPeer)
      }
    }
  }

  /// Sends a packet of at most 16 KiB as one record. Dropped if the handshake is not done.
  func send(_ packet: UnsafeRawBufferPointer) {
    guard phase == .connected else { return }
    if SSL_write(ssl, packet.baseAddress, Int32(packet.count)) <= 0 { ERR_clear_error() }
  }

  /// Sends close_notify. The owner is not called any more, except to send that.
  func close() {
    guard phase != .ended else { return }
    if phase == .connected { SSL_shutdown(ssl) }
    phase = .ended
    retransmission = nil
    ERR_clear_error()
  }

  private func handshake() {
    let result = SSL_do_handshake(ssl)
    if result == 1 {
      phase = .connected
      retransmission?.cancel()
      owner.dtlsConnected()
      return
    }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: schedule()
    default:
      let code = ERR_peek_last_error()
      ERR_clear_error()
      if mismatch { return end(.fingerprintMismatch) }
      end(.handshake(ERR_reason_error_string(code).map { String(cString: $0) } ?? "no reason given"))
    }
  }

  private func schedule() {
    var left = timeval()
    guard p2pfs_dtls_get_timeout(ssl, &left) == 1 else { return }
    retransmission?.set(after: Double(left.tv_sec) + Double(left.tv_usec) / 1e6 + 0.001)
  }

  private func retransmit() {
    guard phase == .handshaking else { return }
    if p2pfs_dtls_handle_timeout(ssl) < 0 {
      ERR_clear_error()
      return end(.handshakeTimeout)
    }
    schedule()
  }

  private func end(_ error: TransportError) {
    guard phase != .ended else { return }
    phase = .ended
    retransmission = nil
    owner.dtlsEnded(error)
  }

  private func verify(_ store: OpaquePointer) -> Bool {
    guard let certificate = X509_STORE_CTX_get0_cert(store), Certificate.fingerprint(of: certificate) == expected else {
      mismatch = true
      X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
      return false
    }
    return true
  }

  /// The methods of a BIO that reads the datagram in `incoming` and writes to the owner.
  // Created once, never changed.
  private nonisolated(unsafe) static let method: OpaquePointer = {
    let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams")!
    BIO_meth_set_create(method) { bio in
      BIO_set_init(bio, 1)
      return 1
    }
    BIO_meth_set_read(method) { bio, buffer, size in
      let dtls = Unmanaged<DTLS>.fromOpaque(BIO_get_data(bio)).takeUnretainedValue()
      p2pfs_bio_clear_retry(bio)
      guard !dtls.incoming.isEmpty, let buffer else {
        p2pfs_bio_retry_read(bio)
        return -1
      }
      let count = min(Int(size), dtls.incoming.count)
      memcpy(buffer, dtls.incoming.baseAddress!, count)
      dtls.incoming = UnsafeRawBufferPointer(start: nil, count: 0)
      return Int32(count)
    }
    BIO_meth_set_write(method) { bio, bytes, size in
      let dtls = Unmanaged<DTLS>.fromOpaque(BIO_get_data(bio)).takeUnretainedValue()
      dtls.owner.dtls(send: UnsafeRawBufferPointer(start: bytes, count: Int(size)))
      return size
    }
    BIO_meth_set_ctrl(method) { _, command, _, _ in
      switch Int(command) {
      case p2pfs_bio_flush: 1
      case p2pfs_bio_query_mtu, p2pfs_bio_fallback_mtu: 1_200
      default: 0
      }
    }
    return method
  }()
}

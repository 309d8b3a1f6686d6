import CP2PFSOpenSSL

/// A self-signed ECDSA P-256 certificate with its key, made for one connection (RFC 8827 section 6.5).
final class Certificate {
  // Owned; freed in deinit. OpenSSL counts references, so its own objects may use them longer.
  let key: OpaquePointer
  let certificate: OpaquePointer
  /// The certificate's fingerprint, which the session description announces.
  let fingerprint: Fingerprint

  /// Makes a new one, valid for 30 days from yesterday, so that clocks may differ.
  init() throws(TransportError) {
    guard let key = p2pfs_generate_p256() else { throw .resources("no key") }
    guard let certificate = X509_new() else {
      EVP_PKEY_free(key)
      throw .resources("no certificate")
    }
    self.key = key
    self.certificate = certificate
    X509_set_version(certificate, 2)
    var serial: UInt64 = 0
    withUnsafeMutableBytes(of: &serial) { _ = RAND_bytes($0.baseAddress, 8) }
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1)
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86_400)
    X509_gmtime_adj(X509_getm_notAfter(certificate), 30 * 86_400)
    X509_set_pubkey(certificate, key)
    let name = X509_get_subject_name(certificate)
    X509_NAME_add_entry_by_txt(name, "CN", Int32(p2pfs_mbstring_asc), "WebRTC", -1, -1, 0)
    X509_set_issuer_name(certificate, name)
    guard X509_sign(certificate, key, EVP_sha256()) > 0, let fingerprint = Self.fingerprint(of: certificate) else {
      fingerprint = Fingerprint([UInt8](repeating: 0, count: 32))!
      throw .resources("no signature")
    }
    self.fingerprint = fingerprint
  }

  deinit {
    X509_free(certificate)
    EVP_PKEY_free(key)
  }

  /// The SHA-256 of a certificate's DER form.
  static func fingerprint(of certificate: OpaquePointer) -> Fingerprint? {
    var digest = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 32
    guard X509_digest(certificate, EVP_sha256(), &digest, &length) == 1 else { return nil }
    return Fingerprint(digest)
  }
}

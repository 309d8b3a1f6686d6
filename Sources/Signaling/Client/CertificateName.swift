import CP2PFSOpenSSL
import P2PFSCore
import NIOSSL

extension NIOSSLCertificate {
  /// Whether one of the certificate's DNS names is `host` (RFC 6125; X509_check_host(3)). The subject's common name is
  /// not looked at.
  func isFor(_ host: String) -> Bool {
    guard let der = try? toDERBytes() else { return false }
    return der.withUnsafeBufferPointer { bytes in
      var start = bytes.baseAddress
      guard let certificate = d2i_X509(nil, &start, bytes.count) else {
        ERR_clear_error()
        return false
      }
      defer { X509_free(certificate) }
      let flags = UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
      let name = host.hasSuffix(".") ? String(host.dropLast()) : host
      return X509_check_host(certificate, name, name.utf8.count, flags, nil) == 1
    }
  }
}

extension ServerAddress {
  /// Whether the host is an address rather than a name.
  var isAddress: Bool { Self.ipv4(host) != nil || Self.ipv6(host) != nil }
}

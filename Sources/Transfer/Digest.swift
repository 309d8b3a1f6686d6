import CP2PFSOpenSSL
import P2PFSCore
import Glibc

/// Incremental SHA-256, by OpenSSL's EVP interface, which uses the SHA instructions of the processor.
///
/// Used by one thread at a time; it may be handed from one thread to the next.
final class Digest: @unchecked Sendable {
  // Owned by this object alone; the lock of the thread that hands it over orders the accesses.
  private let context: OpaquePointer

  private init(_ context: OpaquePointer?) {
    guard let context else { fatalError("out of memory for SHA-256") }
    self.context = context
  }

  /// A digest of no bytes.
  convenience init() {
    self.init(EVP_MD_CTX_new())
    guard EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else { fatalError("OpenSSL has no SHA-256") }
  }

  deinit { EVP_MD_CTX_free(context) }

  /// Appends bytes.
  func update(_ bytes: UnsafeRawBufferPointer) {
    guard EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1 else { fatalError("SHA-256 failed") }
  }

  /// The hash of all bytes so far; more may be appended.
  var hash: ContentHash {
    let copy = Digest(EVP_MD_CTX_new())
    var bytes = [UInt8](repeating: 0, count: ContentHash.length)
    guard EVP_MD_CTX_copy_ex(copy.context, context) == 1, EVP_DigestFinal_ex(copy.context, &bytes, nil) == 1 else {
      fatalError("out of memory for SHA-256")
    }
    return ContentHash(bytes)
  }

  /// SHA-256 of a few bytes.
  static func hash(of bytes: [UInt8]) -> ContentHash {
    let digest = Digest()
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.hash
  }
}

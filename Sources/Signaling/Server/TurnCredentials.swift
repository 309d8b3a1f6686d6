import CP2PFSOpenSSL
import P2PFSCore

/// Credentials for a TURN server that knows the same secret, good for a limited time: coturn's `use-auth-secret`
/// (draft-uberti-behave-turn-rest-00).
///
///     username = expiry in seconds since 1970 ‖ ":" ‖ anything
///     password = base64(HMAC-SHA1(secret, username))
struct TurnCredentials: Equatable {
  let username: String
  let password: String

  /// Credentials until `expiry`, told apart from others by `name`.
  init(secret: String, expiry: Int, name: String) {
    username = "\(expiry):\(name)"
    let key = Array(secret.utf8)
    let text = Array(username.utf8)
    var digest = [UInt8](repeating: 0, count: 20)
    var length: UInt32 = 20
    guard HMAC(EVP_sha1(), key, Int32(key.count), text, text.count, &digest, &length) != nil, length == 20 else {
      fatalError("OpenSSL has no HMAC-SHA1")
    }
    var encoded = [UInt8](repeating: 0, count: 29)
    let count = EVP_EncodeBlock(&encoded, digest, 20)
    password = String(decoding: encoded.prefix(Int(count)), as: UTF8.self)
  }
}

import CP2PFSOpenSSL
import P2PFSCore

/// SHA-256, HMAC, HKDF and scrypt, by OpenSSL.
enum KeyDerivation {
  /// SHA-256 of `bytes`.
  static func sha256(_ bytes: [UInt8]) -> Secret {
    Secret(count: 32) { out in
      _ = SHA256(bytes, bytes.count, out.baseAddress?.assumingMemoryBound(to: UInt8.self))
    }
  }

  /// HMAC-SHA256 (RFC 2104).
  static func hmac(key: UnsafeRawBufferPointer, _ message: UnsafeRawBufferPointer) -> Secret {
    Secret(count: 32) { out in
      var length: UInt32 = 32
      // A null key would mean "the key of the last call" to HMAC().
      let none: [UInt8] = [0]
      let done = none.withUnsafeBytes { none in
        HMAC(
          EVP_sha256(), key.baseAddress ?? none.baseAddress, Int32(key.count),
          (message.baseAddress ?? none.baseAddress)?.assumingMemoryBound(to: UInt8.self), message.count,
          out.baseAddress?.assumingMemoryBound(to: UInt8.self), &length)
      }
      guard done != nil, length == 32 else { fatalError("out of memory for HMAC") }
    }
  }

  /// HKDF-SHA256 (RFC 5869). At most 8160 bytes.
  static func hkdf(_ key: UnsafeRawBufferPointer, salt: [UInt8], info: [UInt8], count: Int) -> Secret {
    precondition(count <= 255 * 32)
    let pseudorandom = salt.withUnsafeBytes { hmac(key: $0, key) }
    return Secret(count: count) { out in
      var block: [UInt8] = []
      block.reserveCapacity(32 + info.count + 1)
      defer { wipe(&block) }
      var index: UInt8 = 1
      var filled = 0
      while filled < count {
        block.append(contentsOf: info)
        block.append(index)
        let next = pseudorandom.withBytes { key in block.withUnsafeBytes { hmac(key: key, $0) } }
        wipe(&block)
        next.withBytes {
          block.append(contentsOf: $0)
          let part = $0.prefix(count - filled)
          UnsafeMutableRawBufferPointer(rebasing: out[filled...]).copyBytes(from: part)
          filled += part.count
        }
        index &+= 1
      }
    }
  }

  /// scrypt (RFC 7914) with the cost of `Limits.Pairing`: about 50 ms and 16 MiB.
  static func scrypt(_ password: Secret, salt: [UInt8], count: Int) -> Secret {
    Secret(count: count) { out in
      let done = password.withBytes { bytes in
        EVP_PBE_scrypt(
          bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count, salt, salt.count,
          Limits.Pairing.scryptCost, Limits.Pairing.scryptBlock, 1, Limits.Pairing.scryptMemory,
          out.baseAddress?.assumingMemoryBound(to: UInt8.self), out.count)
      }
      guard done == 1 else { fatalError("out of memory for scrypt") }
    }
  }

  /// Overwrites and empties `bytes`, which must be the only reference to its storage.
  static func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
    bytes.removeAll(keepingCapacity: true)
  }
}

import CP2PFSOpenSSL

/// AES-256-GCM (NIST SP 800-38D) by OpenSSL's EVP, with nonces of 12 bytes and tags of 16.
enum AuthenticatedCipher {
  static let tagLength = 16

  /// Ciphertext ‖ tag. A pair of key and nonce is used only once.
  static func seal(_ plaintext: [UInt8], key: Secret, nonce: [UInt8], associated: [UInt8]) -> [UInt8] {
    precondition(nonce.count == 12 && key.count == 32)
    guard let context = EVP_CIPHER_CTX_new() else { fatalError("out of memory for a cipher") }
    defer { EVP_CIPHER_CTX_free(context) }
    var length: Int32 = 0
    let begun = key.withBytes {
      EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), nonce)
    }
    guard begun == 1, EVP_EncryptUpdate(context, nil, &length, associated, Int32(associated.count)) == 1 else {
      fatalError("OpenSSL has no AES-256-GCM")
    }
    return [UInt8](unsafeUninitializedCapacity: plaintext.count + tagLength) { out, count in
      guard let base = out.baseAddress,
        EVP_EncryptUpdate(context, base, &length, plaintext, Int32(plaintext.count)) == 1,
        EVP_EncryptFinal_ex(context, base + plaintext.count, &length) == 1,
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagLength), base + plaintext.count) == 1
      else { fatalError("AES-256-GCM does not fail on valid input") }
      count = plaintext.count + tagLength
    }
  }

  /// The plaintext, or nil if the tag does not match key, nonce, associated data and ciphertext.
  static func open(_ sealed: ArraySlice<UInt8>, key: Secret, nonce: [UInt8], associated: [UInt8]) -> [UInt8]? {
    precondition(nonce.count == 12 && key.count == 32)
    guard sealed.count >= tagLength else { return nil }
    let ciphertext = Array(sealed.dropLast(tagLength))
    var tag = Array(sealed.suffix(tagLength))
    guard let context = EVP_CIPHER_CTX_new() else { fatalError("out of memory for a cipher") }
    defer { EVP_CIPHER_CTX_free(context) }
    var length: Int32 = 0
    let begun = key.withBytes {
      EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), nonce)
    }
    guard begun == 1, EVP_DecryptUpdate(context, nil, &length, associated, Int32(associated.count)) == 1,
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagLength), &tag) == 1
    else { fatalError("OpenSSL has no AES-256-GCM") }
    var genuine = false
    let plaintext = [UInt8](unsafeUninitializedCapacity: ciphertext.count + tagLength) { out, count in
      guard let base = out.baseAddress,
        EVP_DecryptUpdate(context, base, &length, ciphertext, Int32(ciphertext.count)) == 1,
        EVP_DecryptFinal_ex(context, base + ciphertext.count, &length) == 1
      else {
        ERR_clear_error()
        return
      }
      genuine = true
      count = ciphertext.count
    }
    return genuine ? plaintext : nil
  }
}

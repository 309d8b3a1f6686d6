import CP2PFSOpenSSL

/// Secret bytes, wiped when the last reference goes.
///
/// `Sendable` because the memory never changes between the end of `init` and `deinit`.
package final class Secret: @unchecked Sendable {
  private let memory: UnsafeMutableRawBufferPointer

  /// A copy of `bytes`; the caller has to wipe the original.
  package init(copying bytes: some Collection<UInt8>) {
    memory = .allocate(byteCount: bytes.count, alignment: 16)
    memory.copyBytes(from: bytes)
  }

  /// `count` bytes that `fill` writes.
  init(count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
    memory = .allocate(byteCount: count, alignment: 16)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    fill(memory)
  }

  /// `count` bytes from OpenSSL's generator for private values.
  package static func random(count: Int) -> Secret {
    Secret(count: count) { memory in
      let done = RAND_priv_bytes(memory.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(memory.count))
      guard done == 1 else { fatalError("the system has no random numbers") }
    }
  }

  deinit {
    OPENSSL_cleanse(memory.baseAddress, memory.count)
    memory.deallocate()
  }

  /// Length in bytes.
  package var count: Int { memory.count }

  /// Calls `body` with the bytes; the pointer is valid during the call.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(memory))
  }

  /// Whether both hold the same bytes, in a time that does not depend on where they differ.
  package func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    count == other.count && CRYPTO_memcmp(memory.baseAddress, other.baseAddress, count) == 0
  }
}

extension Secret: CustomStringConvertible, CustomReflectable {
  /// The length only.
  package var description: String { "secret of \(count) bytes" }

  /// Nothing, so that no dump contains the bytes.
  package var customMirror: Mirror { Mirror(self, children: []) }
}

import CP2PFSFuse3
import Glibc
package import SystemPackage

/// One request of the kernel that waits for its answer.
///
/// It is answered exactly once, from any thread; one that is dropped is answered EIO. Each reply tells whether
/// the kernel took it: not if the caller has meanwhile given up, or the filesystem is gone.
package struct FUSERequest: ~Copyable, @unchecked Sendable {
  // `fuse_req_t` may be used from any thread, by one at a time: this value is its only owner.
  let pointer: OpaquePointer
  // Keeps the session that the request belongs to alive; retained until the reply.
  private let connection: Unmanaged<FUSEConnection>

  init(_ pointer: OpaquePointer, _ connection: FUSEConnection) {
    self.pointer = pointer
    self.connection = Unmanaged.passRetained(connection)
  }

  deinit {
    fuse_reply_err(pointer, EIO)
    connection.release()
  }

  /// Process (thread) that waits, in the namespace of ours; 0 if the kernel did the request for itself.
  package var process: Int32 { fuse_req_ctx(pointer).pointee.pid }

  /// The umask of the program that waits.
  package var umask: UInt32 { fuse_req_ctx(pointer).pointee.umask }

  /// Has `FUSEFilesystem.interrupted` called with `identifier` when the waiting process gets a signal.
  package func announceInterrupts(as identifier: UInt64) {
    // The identifier travels in the pointer itself: the callback may come while the request is being answered,
    // so it must not lead to anything that goes away with the answer. libfuse holds a lock of the request
    // during the callback, which therefore never replies.
    fuse_req_interrupt_func(
      pointer,
      { request, data in
        guard let request else { return }
        Callbacks.of(request).filesystem.interrupted(UInt64(UInt(bitPattern: data)))
      }, UnsafeMutableRawPointer(bitPattern: UInt(identifier)))
  }

  /// Ends the request with an error.
  @discardableResult
  package consuming func fail(_ error: Errno) -> Bool {
    finish(fuse_reply_err(pointer, error.rawValue))
  }

  /// Ends a request that answers with nothing but its success.
  @discardableResult
  package consuming func succeed() -> Bool {
    finish(fuse_reply_err(pointer, 0))
  }

  /// Answers what makes or finds an entry.
  @discardableResult
  package consuming func reply(entry: FUSEEntry) -> Bool {
    var parameters = entry.parameters
    return finish(fuse_reply_entry(pointer, &parameters))
  }

  /// Answers a lookup of what is not there, which the kernel may believe for `timeout` seconds.
  @discardableResult
  package consuming func reply(absentFor timeout: Double) -> Bool {
    guard timeout > 0 else { return fail(.noSuchFileOrDirectory) }
    var parameters = fuse_entry_param()
    parameters.entry_timeout = timeout
    return finish(fuse_reply_entry(pointer, &parameters))
  }

  /// Answers a `create`.
  @discardableResult
  package consuming func reply(entry: FUSEEntry, opened: FUSEOpenFile) -> Bool {
    var parameters = entry.parameters
    var info = opened.info
    return finish(fuse_reply_create(pointer, &parameters, &info))
  }

  /// Answers with attributes that hold for `timeout` seconds.
  @discardableResult
  package consuming func reply(attributes: FUSEAttributes, timeout: Double) -> Bool {
    var attributes = attributes.status
    return finish(fuse_reply_attr(pointer, &attributes, timeout))
  }

  /// Answers an `open` or `opendir`.
  @discardableResult
  package consuming func reply(opened: FUSEOpenFile) -> Bool {
    var info = opened.info
    return finish(fuse_reply_open(pointer, &info))
  }

  /// Answers a write of `count` bytes.
  @discardableResult
  package consuming func reply(written count: Int) -> Bool {
    finish(fuse_reply_write(pointer, count))
  }

  /// Answers with bytes, which are only read before this returns.
  @discardableResult
  package consuming func reply(bytes: UnsafeRawBufferPointer) -> Bool {
    finish(fuse_reply_buf(pointer, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count))
  }

  /// Answers with the bytes of several buffers, one after the other, which are only read before this returns.
  @discardableResult
  package consuming func reply(buffers: borrowing [UnsafeRawBufferPointer]) -> Bool {
    let vectors = buffers.map { iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count) }
    let pointer = pointer
    let result = vectors.withUnsafeBufferPointer { fuse_reply_iov(pointer, $0.baseAddress, CInt($0.count)) }
    return finish(result)
  }

  /// Answers with the target of a symbolic link, which holds no NUL.
  @discardableResult
  package consuming func reply(target: borrowing [UInt8]) -> Bool {
    let terminated = target.map(CChar.init(bitPattern:)) + [0]
    return finish(fuse_reply_readlink(pointer, terminated))
  }

  /// Answers a `statfs`.
  @discardableResult
  package consuming func reply(statistics: FUSEStatistics) -> Bool {
    var statistics = statistics.status
    return finish(fuse_reply_statfs(pointer, &statistics))
  }

  /// Answers an `lseek`.
  @discardableResult
  package consuming func reply(offset: Int64) -> Bool {
    finish(fuse_reply_lseek(pointer, off_t(offset)))
  }

  /// Answers what needs no answer.
  consuming func replyNone() {
    fuse_reply_none(pointer)
    _ = finish(0)
  }

  private consuming func finish(_ result: CInt) -> Bool {
    connection.release()
    discard self
    return result == 0
  }
}

/// What a reply says of an entry of a directory.
package struct FUSEEntry {
  /// Node ID: what the kernel calls the file by from now on. Not 0.
  package var node: UInt64
  /// Attributes, `st_ino` among them.
  package var attributes: FUSEAttributes
  /// How long, in seconds, the kernel may believe the attributes, and the name.
  package var attributeTimeout: Double
  package var entryTimeout: Double

  /// An entry of the given values.
  package init(node: UInt64, attributes: FUSEAttributes, attributeTimeout: Double, entryTimeout: Double) {
    self.node = node
    self.attributes = attributes
    self.attributeTimeout = attributeTimeout
    self.entryTimeout = entryTimeout
  }

  var parameters: fuse_entry_param {
    var parameters = fuse_entry_param()
    parameters.ino = node
    parameters.generation = 0
    parameters.attr = attributes.status
    parameters.attr_timeout = attributeTimeout
    parameters.entry_timeout = entryTimeout
    return parameters
  }
}

/// What a reply says of a file that was opened.
package struct FUSEOpenFile {
  /// What the kernel names the open file by, in all that follows.
  package var handle: UInt64
  /// Reads and writes come to us as the program makes them, past the page cache.
  package var isDirect = false
  /// The pages cached earlier are still right.
  package var keepsCache = false
  /// The kernel need not ask for a flush when it is closed.
  package var needsNoFlush = false

  /// An open file of the given handle.
  package init(handle: UInt64, isDirect: Bool = false, keepsCache: Bool = false, needsNoFlush: Bool = false) {
    self.handle = handle
    self.isDirect = isDirect
    self.keepsCache = keepsCache
    self.needsNoFlush = needsNoFlush
  }

  var info: fuse_file_info {
    var info = fuse_file_info()
    info.fh = handle
    info.direct_io = isDirect ? 1 : 0
    info.keep_cache = keepsCache ? 1 : 0
    info.noflush = needsNoFlush ? 1 : 0
    return info
  }
}

/// What answers the kernel. The methods are the operations of libfuse's low-level interface.
///
/// They are called on the session's workers, several at a time, and must not wait for anything slow: whoever
/// has the answer later replies then. Names and buffers are only valid during the call. Operations that are not
/// here (extended attributes, locks, copy_file_range) are answered ENOSYS, after which the kernel does
/// without them by itself.
package protocol FUSEFilesystem: AnyObject, Sendable {
  func lookup(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer)
  /// The kernel has forgotten `count` of the lookups of `node`.
  func forget(_ node: UInt64, count: UInt64)
  func getattr(_ request: consuming FUSERequest, node: UInt64, handle: UInt64?)
  func setattr(
    _ request: consuming FUSERequest, node: UInt64, attributes: FUSEAttributes, changes: FUSEAttributeChanges,
    handle: UInt64?)
  func readlink(_ request: consuming FUSERequest, node: UInt64)
  /// `mode` is not masked yet with the umask of the program (`FUSERequest.umask`), neither in `mkdir` nor `create`.
  func mknod(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32)
  func mkdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32)
  func unlink(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer)
  func rmdir(_ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer)
  func symlink(
    _ request: consuming FUSERequest, target: UnsafeRawBufferPointer, parent: UInt64, name: UnsafeRawBufferPointer)
  /// `flags` are those of renameat2(2).
  func rename(
    _ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, newParent: UInt64,
    newName: UnsafeRawBufferPointer, flags: UInt32)
  func link(_ request: consuming FUSERequest, node: UInt64, newParent: UInt64, newName: UnsafeRawBufferPointer)
  /// `flags` are those of open(2).
  func open(_ request: consuming FUSERequest, node: UInt64, flags: Int32)
  func create(
    _ request: consuming FUSERequest, parent: UInt64, name: UnsafeRawBufferPointer, mode: UInt32, flags: Int32)
  func read(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int)
  /// `flags` are those that the description has now (fcntl(2), F_SETFL). `isWriteback`: the kernel writes pages that
  /// were changed through a mapping, whenever that was.
  func write(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, bytes: UnsafeRawBufferPointer,
    flags: Int32, isWriteback: Bool)
  func flush(_ request: consuming FUSERequest, node: UInt64, handle: UInt64)
  func release(_ request: consuming FUSERequest, node: UInt64, handle: UInt64)
  func fsync(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, dataOnly: Bool)
  func opendir(_ request: consuming FUSERequest, node: UInt64)
  /// With `plus`, the entries carry attributes.
  func readdir(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int, plus: Bool)
  func releasedir(_ request: consuming FUSERequest, node: UInt64, handle: UInt64)
  func fsyncdir(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, dataOnly: Bool)
  func statfs(_ request: consuming FUSERequest, node: UInt64)
  /// `mask` as access(2) has it: R_OK, W_OK, X_OK.
  func access(_ request: consuming FUSERequest, node: UInt64, mask: Int32)
  /// `mode` as fallocate(2) has it.
  func fallocate(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int64, mode: Int32)
  /// `whence` is SEEK_DATA or SEEK_HOLE.
  func lseek(_ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, whence: Int32)
  /// Whoever waits for the request that was announced as `identifier` got a signal. Must not reply.
  func interrupted(_ identifier: UInt64)
  /// The last worker has ended: unmounted, aborted or stopped. Called once.
  func ended()
}

/// Which attributes a `setattr` changes.
package struct FUSEAttributeChanges: OptionSet, Sendable {
  package let rawValue: Int32
  package init(rawValue: Int32) { self.rawValue = rawValue }
  package static let mode = FUSEAttributeChanges(rawValue: 1 << 0)
  package static let user = FUSEAttributeChanges(rawValue: 1 << 1)
  package static let group = FUSEAttributeChanges(rawValue: 1 << 2)
  package static let size = FUSEAttributeChanges(rawValue: 1 << 3)
  package static let accessed = FUSEAttributeChanges(rawValue: 1 << 4)
  package static let modified = FUSEAttributeChanges(rawValue: 1 << 5)
  package static let accessedNow = FUSEAttributeChanges(rawValue: 1 << 7)
  package static let modifiedNow = FUSEAttributeChanges(rawValue: 1 << 8)
}

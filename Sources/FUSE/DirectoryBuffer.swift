import CP2PFSFuse3

/// The answer to one `readdir` or `readdirplus`, as the kernel wants it, of bounded size.
package struct DirectoryBuffer: ~Copyable {
  private let memory: UnsafeMutablePointer<CChar>
  private let capacity: Int
  private var count = 0

  /// An empty answer of at most `capacity` bytes.
  package init(capacity: Int) {
    self.capacity = capacity
    memory = .allocate(capacity: max(capacity, 1))
  }

  deinit { memory.deallocate() }

  /// The answer so far.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: count) }

  /// Appends an entry with its attributes: the kernel counts it as a lookup of `entry.node`, unless the name is
  /// `.` or `..`, or the node is 0, which only tells the name, type and inode.
  /// - Parameters:
  ///   - name: ends with a NUL.
  ///   - next: the offset at which the entry behind it is found.
  /// - Returns: false if there is no room.
  package mutating func append(
    _ name: borrowing [CChar], _ entry: FUSEEntry, next: Int64, for request: borrowing FUSERequest
  ) -> Bool {
    var parameters = entry.parameters
    let size = fuse_add_direntry_plus(request.pointer, memory + count, capacity - count, name, &parameters, Int(next))
    guard size <= capacity - count else { return false }
    count += size
    return true
  }

  /// Appends an entry of which only the name, inode and type are told.
  /// - Returns: false if there is no room.
  package mutating func append(
    _ name: borrowing [CChar], _ attributes: FUSEAttributes, next: Int64, for request: borrowing FUSERequest
  ) -> Bool {
    var attributes = attributes.status
    let size = fuse_add_direntry(request.pointer, memory + count, capacity - count, name, &attributes, Int(next))
    guard size <= capacity - count else { return false }
    count += size
    return true
  }
}

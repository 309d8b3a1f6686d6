import CP2PFSFuse3
import Glibc
import Synchronization

/// How libfuse reads and writes /dev/fuse: as it does by itself, but for one flag in the answer to FUSE_INIT that libfuse
/// before 3.17 has no name for.
enum FUSETransport {
  /// FUSE_INIT_EXT, in `flags`: there are `flags2`.
  private static let extended: UInt32 = 1 << 30
  /// FUSE_DIRECT_IO_ALLOW_MMAP (Linux 6.6), in `flags2`: files that are read and written past the page cache, those
  /// opened with O_APPEND here, can be mapped all the same.
  private static let mapsDirect: UInt32 = 1 << 4
  /// Where the two are in `struct fuse_init_out` (linux/fuse.h), and its length.
  private static let (flags, flags2, length) = (12, 32, 64)

  static var functions: fuse_custom_io {
    var functions = fuse_custom_io()
    functions.read = { descriptor, buffer, count, _ in read(descriptor, buffer, count) }
    functions.writev = { descriptor, vectors, count, data in
      if let data, let vectors, count == 2 {
        let callbacks = Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue()
        if !callbacks.hasAnswered.load(ordering: .relaxed),
          !callbacks.hasAnswered.exchange(true, ordering: .relaxed)
        {
          FUSETransport.extend(vectors[1])
        }
      }
      return writev(descriptor, vectors, count)
    }
    return functions
  }

  /// Adds the flag; a kernel that does not know it ignores it.
  private static func extend(_ answer: iovec) {
    guard answer.iov_len == length, let base = answer.iov_base else { return }
    for (offset, bit) in [(flags, extended), (flags2, mapsDirect)] {
      let field = (base + offset).assumingMemoryBound(to: UInt32.self)
      field.pointee |= bit
    }
  }
}

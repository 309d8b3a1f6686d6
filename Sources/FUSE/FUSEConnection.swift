import CP2PFSFuse3
import Glibc

/// Owner of a libfuse session: freed, and the descriptor of /dev/fuse closed, when neither the session's threads
/// nor an unanswered request need it any more. Closing the descriptor ends what the kernel still waits for.
final class FUSEConnection: @unchecked Sendable {
  // libfuse's session may be used from any thread.
  let session: OpaquePointer

  init(adopting session: OpaquePointer) { self.session = session }

  deinit { fuse_session_destroy(session) }

  var descriptor: CInt { fuse_session_fd(session) }
}

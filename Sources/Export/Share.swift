import P2PFSCore
import Glibc
package import P2PFSSession
package import SystemPackage

/// A directory that is exported to any number of peers.
package final class Share: Sendable {
  /// The directory.
  let directory: ConfinedDirectory
  /// Whether every change is refused with EROFS.
  package let isReadOnly: Bool
  let workers: WorkerPool<ExportSession.Work>
  /// What one session may have open, and what all may beyond that.
  let allowance: OpenFileAllowance
  let stock: OpenFileStock

  /// Opens the directory and starts the workers. Raises the process' limit of open files as far as it may, and
  /// ignores SIGXFSZ, so that a file that grows too large is an error of its writer.
  ///
  /// - Parameters:
  ///   - path: the directory; symbolic links in this path are followed.
  ///   - barring: directories of p2pfs itself, which look empty if they lie beneath.
  ///   - readOnly: refuses every change.
  ///   - oneFileSystem: does not enter filesystems mounted inside.
  /// - Throws: what open(2) does; `EPERM` if it lies on a p2pfs mount, `EBUSY` if it is one of `barring` or lies in one.
  package convenience init(
    _ path: FilePath, barring: [String] = [], readOnly: Bool = false, oneFileSystem: Bool = false
  ) throws(Errno) {
    try self.init(ConfinedDirectory(path, barring: barring, oneFileSystem: oneFileSystem), readOnly: readOnly)
  }

  init(_ directory: ConfinedDirectory, readOnly: Bool) {
    self.directory = directory
    isReadOnly = readOnly
    let limit = Share.raiseDescriptorLimit()
    allowance = OpenFileAllowance(limit: limit)
    stock = OpenFileStock(OpenFileAllowance.stock(limit: limit))
    signal(SIGXFSZ, SIG_IGN)
    // Before a worker gives up anything.
    _ = Credentials.ofProcess
    workers = WorkerPool {
      WorkerConfinement.enter(root: directory.root.rawValue, isReadOnly: readOnly)
    } perform: { work, arrival in
      work.session.perform(work, arrival: arrival)
    }
  }

  // On a worker, if that has the last reference: so it does not wait.
  deinit { workers.end() }

  /// Whether the open files that its sessions share run out: fewer than an eighth of them are left.
  package var isShortOfFiles: Bool { stock.isShort }

  /// The responder of one peer; end it with `end`. Any number of these.
  package func session() -> any Responder { ExportSession(self) }

  /// The responder of one peer's session, which outlives this process by a journal at `path` (in a directory that is the
  /// user's alone). `identity`: the session's name, 16 bytes. Without room for a journal, it outlives nothing.
  package func session(_ identity: [UInt8], journal path: String) -> any Responder {
    ExportSession(self, journal: try? Journal(path, identity: identity))
  }

  /// The same for a place: the session outlives this process if the place has a journal.
  package func session(for place: SessionPlace) -> any Responder {
    guard let journal = place.journal else { return session() }
    return session(place.identity, journal: journal)
  }

  /// Ends the worker threads, after what they run; what is asked after this is answered EIO. Waits for them,
  /// `Limits.Export.shutdown` seconds at most. Not on a worker.
  package func stop() { workers.stop() }

  private static func raiseDescriptorLimit() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1_024 }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    _ = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
  }
}

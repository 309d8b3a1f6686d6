import CP2PFSLinux
import P2PFSCore
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// A file or directory that a peer has open. Closed when the last request that uses it is done.
///
/// ```
///            flush                        write, append, truncate, allocate
/// (opened) ─────────▶ (reading or path) ─────────────────────────────────────▶ (opened)
/// ```
/// Between a `flush` and the next change nothing is open for writing, so that a program that was copied in can be
/// executed, and whoever watches for the end of writing is told.
final class ServedFile: @unchecked Sendable {
  // What is mutable is changed only by requests that have the handle alone (`WorkQueue`), but for `lateError`.

  /// How the descriptor is open.
  private enum Access {
    /// As the peer has asked.
    case opened
    /// For reading alone, after a flush.
    case reading
    /// O_PATH, after a flush of what cannot be read.
    case path
  }

  private var descriptor: CInt
  private var access = Access.opened
  private let options: OpenOptions
  /// An error of writing back that a flush found, for the next fsync.
  private let lateError = Mutex<Errno?>(nil)
  /// The append whose last part has not come.
  var gathered = GatheredAppend()
  /// What the last failed append ended with, and the number of the last request that had arrived then: appends
  /// up to that one were sent in the belief that this one would be done.
  private var failure: (error: Errno, through: UInt64)?

  /// Takes a descriptor that was opened with `options`. Reading by it does not change the time of access where this
  /// user may ask for that: what is read ahead was read by no program (`close`).
  init(_ descriptor: consuming Descriptor, _ options: OpenOptions) {
    self.descriptor = descriptor.release()
    self.options = options
    if options.contains(.read) { ServedFile.set(p2pfs_no_access_time(), true, of: self.descriptor) }
  }

  deinit {
    gathered.fail(.ioError)
    if descriptor >= 0 { _ = Glibc.close(descriptor) }
  }

  /// Its attributes now.
  func attributes() throws(Errno) -> Attributes {
    try withDescriptor { file throws(Errno) in try FileStatus(file).attributes(file) }
  }

  /// Opens it once more, wherever its names are. The caller shares the handle, so that nothing closes it meanwhile.
  func openAgain(_ options: OpenOptions) throws(Errno) -> Descriptor {
    guard descriptor >= 0 else { throw .badFileDescriptor }
    return try ConfinedDirectory.openAgain(descriptor, options)
  }

  /// Calls `body` with the number, which is valid until it returns; after a flush it may be open with O_PATH.
  func withDescriptor<Result>(_ body: (CInt) throws(Errno) -> Result) throws(Errno) -> Result {
    defer { withExtendedLifetime(self) {} }
    guard descriptor >= 0 else { throw .badFileDescriptor }
    return try body(descriptor)
  }

  /// Closes it. No other request uses it meanwhile. `accessed` has the time of access show that it was read, by the rules
  /// of its mount (relatime).
  /// - Throws: close(2)'s error.
  func close(accessed: Bool = false) throws(Errno) {
    gathered.fail(.ioError)
    guard descriptor >= 0 else { throw .badFileDescriptor }
    if accessed, options.contains(.read), access != .path {
      var byte: UInt8 = 0
      ServedFile.set(p2pfs_no_access_time(), false, of: descriptor)
      _ = pread(descriptor, &byte, 1, 0)
    }
    try ServedFile.close(replace(by: -1, .opened))
  }

  // MARK: - Reading

  /// Reads into `buffer` from `offset` until it is full or the file ends.
  /// - Returns: how many bytes; fewer than fit at the end of the file.
  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    defer { withExtendedLifetime(self) {} }
    guard options.contains(.read) else { throw .badFileDescriptor }
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + done)
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR { continue }
        throw Errno(rawValue: errno)
      }
      done += count
    }
    return done
  }

  // MARK: - Changing

  /// Writes all of `data` at `offset`.
  func write(_ data: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    let file = try writer()
    var done = 0
    while done < data.count {
      let count = pwrite(file, data.baseAddress.map { $0 + done }, data.count - done, off_t(offset) + done)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw count == 0 ? .ioError : Errno(rawValue: errno) }
      done += count
    }
  }

  /// Adds all of `parts` to the end of the file by one write(2), so that nothing of another writer comes in between; one
  /// that was cut short is not continued.
  ///
  /// `arrival` numbers this request, `lastArrival` gives the number of the last one that has arrived: if it fails, those
  /// that came in the belief that it would be done fail, too.
  func append(_ parts: [FrameSlice], arrival: UInt64, lastArrival: () -> UInt64) throws(Errno) -> Appended {
    if let failure, arrival <= failure.through { throw failure.error }
    do throws(Errno) {
      let file = try writer()
      let vectors = parts.filter { $0.count > 0 }.map {
        iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.bytes.baseAddress), iov_len: $0.count)
      }
      let wanted = vectors.reduce(0) { $0 + $1.iov_len }
      var count = 0
      repeat { count = p2pfs_append(file, vectors, CInt(vectors.count)) } while count < 0 && errno == EINTR
      withExtendedLifetime(parts) {}
      guard count > 0 || wanted == 0 else { throw count == 0 ? .ioError : Errno(rawValue: errno) }
      // The write has left the position of this descriptor behind its last byte, and nothing else uses that.
      let end = wanted == 0 ? try FileStatus(file).size : Int64(lseek(file, 0, SEEK_CUR))
      // Nearly always the disk is full.
      if count < wanted { failure = (.noSpace, lastArrival()) }
      return Appended(offset: min(max(end - Int64(count), 0), Limits.Wire.fileSize), count: UInt32(max(count, 0)))
    } catch {
      failure = (error, lastArrival())
      throw error
    }
  }

  /// Changes attributes; the size by the open descriptor, if that may be written: it outlives the file's mode.
  func change(_ changes: AttributeChanges, in directory: ConfinedDirectory) throws(Errno) -> Attributes {
    var changes = changes
    if let size = changes.size, options.contains(.write) {
      try check(ftruncate(try writer(), off_t(size)))
      changes.size = nil
    }
    return try withDescriptor { file throws(Errno) in try directory.change(file, changes) }
  }

  /// fallocate(2).
  func allocate(_ offset: Int64, _ count: Int64, mode: UInt32) throws(Errno) {
    try check(p2pfs_fallocate(try writer(), CInt(mode), offset, count))
  }

  /// Returns when the disk has it: fsync(2) or fdatasync(2). Runs beside other requests that only read.
  ///
  /// After a flush it is opened for writing once more, since some network filesystems tell their server only by such a
  /// descriptor. What a flush has closed is not lost: see `flush`.
  func sync(dataOnly: Bool) throws(Errno) {
    defer { withExtendedLifetime(self) {} }
    guard descriptor >= 0 else { throw .badFileDescriptor }
    func sync(_ file: CInt) -> CInt { dataOnly ? fdatasync(file) : fsync(file) }
    let late = lateError.withLock { error in
      defer { error = nil }
      return error
    }
    if access != .opened, let again = try? openedAgain() {
      try check(sync(again.rawValue))
      if access == .reading { try check(p2pfs_take_writeback_error(descriptor)) }
    } else {
      try check(sync(descriptor))
    }
    if let late { throw late }
  }

  /// Closes what is open for writing, until the next change.
  ///
  /// Where it could not be opened again, because of a mode that forbids its user to write, or an attribute, only a copy
  /// of the descriptor is closed: a descriptor outlives the mode, and filesystems tell of errors at each close(2).
  ///
  /// No error of writing back gets lost. The kernel tells each open file once of each error, and a file opened later of
  /// those that nobody has been told of (lib/errseq.c; seen on a full loop device). So an error of which another program's fsync(2) was told is known
  /// only to what was open before: what is closed here is asked first, without writing anything, and what it says kept
  /// for the next fsync; the descriptor for reading that takes its place is open before that, and is asked in the same
  /// way before it goes. Only where the file cannot be read, an error is lost that comes between flush and the next
  /// change, and that another program has taken.
  /// - Throws: close(2)'s error, of NFS or a quota for example.
  func flush() throws(Errno) {
    guard access == .opened, descriptor >= 0, options.contains(.write) else { return }
    guard let kept = canBeOpenedAgain ? standIn() : nil else {
      let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
      if copy >= 0 { try ServedFile.close(copy) }
      return
    }
    if kept.access == .reading { _ = p2pfs_take_writeback_error(kept.number) }
    noteLateError()
    try ServedFile.close(replace(by: kept.number, kept.access))
  }

  // MARK: - Inside

  /// A descriptor open for writing.
  private func writer() throws(Errno) -> CInt {
    guard options.contains(.write), descriptor >= 0 else { throw .badFileDescriptor }
    if access == .opened { return descriptor }
    let again = try openedAgain().release()
    if access == .reading { noteLateError() }
    if options.contains(.read) { ServedFile.set(p2pfs_no_access_time(), true, of: again) }
    _ = Glibc.close(replace(by: again, .opened))
    return again
  }

  /// The same file once more, as it was opened first, but for what happens at opening only.
  private func openedAgain() throws(Errno) -> Descriptor {
    guard options.contains(.write) else { throw .badFileDescriptor }
    return try ConfinedDirectory.openAgain(descriptor, options.intersection([.read, .write, .append]))
  }

  private var canBeOpenedAgain: Bool {
    let needed = options.contains(.read) ? R_OK | W_OK : W_OK
    return fcntl(descriptor, F_GETFL) & O_APPEND == 0 && p2pfs_may(descriptor, "", needed) == 0
  }

  /// What keeps the file while nothing is open for writing; nil if there are too many open files.
  private func standIn() -> (number: CInt, access: Access)? {
    if let reading = try? ConfinedDirectory.openAgain(descriptor, .read) {
      ServedFile.set(p2pfs_no_access_time(), true, of: reading.rawValue)
      return (reading.release(), .reading)
    }
    let path = p2pfs_openat(AT_FDCWD, procPathOfDescriptor(descriptor), O_PATH | O_CLOEXEC, 0)
    return path >= 0 ? (path, .path) : nil
  }

  private func noteLateError() {
    guard p2pfs_take_writeback_error(descriptor) != 0 else { return }
    let error = Errno(rawValue: errno)
    lateError.withLock { $0 = error }
  }

  /// - Returns: the number that was there.
  private func replace(by number: CInt, _ access: Access) -> CInt {
    defer { (descriptor, self.access) = (number, access) }
    return descriptor
  }

  private static func close(_ number: CInt) throws(Errno) {
    if Glibc.close(number) != 0, errno != EINTR { throw Errno(rawValue: errno) }
  }

  /// Sets or clears a flag that fcntl(2) may change; does nothing where this user may not.
  private static func set(_ flag: CInt, _ value: Bool, of descriptor: CInt) {
    let flags = fcntl(descriptor, F_GETFL)
    _ = fcntl(descriptor, F_SETFL, value ? flags | flag : flags & ~flag)
  }
}

import P2PFSCore
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// What outlives this process of one session: a file in memory (mmap(2)) with a record for each of the client's slots, by
/// which the next process knows what was done and what was only begun.
///
/// Written by plain stores, the state of a record last: they are in the kernel's memory at once, whatever becomes of the
/// process, and cost no system call. Nothing is synced, since another boot makes the whole of it void.
///
/// ```
///  0       8         12      16        32        72     80       88  128     4096
/// +-------+---------+-------+---------+---------+------+--------+---+-------+---------
/// | magic | version | slots | session | boot id | salt | client | 0 | loans | records
/// +-------+---------+-------+---------+---------+------+--------+---+-------+---------
/// ```
/// From any thread: each slot is one request's, and that one is served by one thread at a time.
final class Journal: SlotMemory {
  private static let magic: UInt64 = 0x6c6e_726a_7366_3270  // "p2fsjrnl"
  private static let version: UInt32 = 1
  static let header = 4_096
  private static let slots = Limits.Session.requests
  private static let length = header + slots * JournalRecord.length

  // The mapping; its records are guarded by the rule above, the header by `lock`.
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  private let path: String
  private let lock = Mutex(())

  /// Whether an earlier process of this boot has served the client with this journal.
  let remembers: Bool
  /// See `Hello.machine`.
  let machine: UInt64
  /// Permissions that an earlier process has lent itself and not taken back.
  let left: [Loan]
  /// The notes of loans that are taken.
  let loanNumbers = Monitor<Set<Int>>([])

  /// Opens the journal of the session `identity` (16 bytes) at `path`, or makes a new one where there is none, or one
  /// that says nothing: of another boot, of another version, or cut short.
  /// - Throws: what open(2), posix_fallocate(3) and mmap(2) do.
  init(_ path: String, identity: [UInt8], bootID: [UInt8] = Journal.bootID()) throws(Errno) {
    precondition(identity.count == 16)
    self.path = path
    let bootID = Array((bootID + [UInt8](repeating: 0, count: 40)).prefix(40))
    var left: [Loan] = []
    if let mapping = Journal.map(path) {
      let bytes = UnsafeRawBufferPointer(start: mapping, count: Journal.length)
      if bytes.load(as: UInt64.self) == Journal.magic,
        bytes.load(fromByteOffset: 8, as: UInt32.self) == Journal.version,
        bytes.load(fromByteOffset: 12, as: UInt32.self) == UInt32(Journal.slots),
        bytes[16..<32].elementsEqual(identity)
      {
        left = Journal.readLoans(mapping)
        if bytes[32..<72].elementsEqual(bootID) {
          base = mapping
          remembers = bytes.load(fromByteOffset: 80, as: UInt64.self) != 0
          machine = Journal.machine(bytes)
          self.left = left
          return
        }
      }
      munmap(mapping, Journal.length)
    }
    base = try Journal.make(path)
    remembers = false
    self.left = left
    UnsafeMutableRawBufferPointer(start: base + 16, count: 16).copyBytes(from: identity)
    UnsafeMutableRawBufferPointer(start: base + 32, count: 40).copyBytes(from: bootID)
    base.storeBytes(of: UInt64.random(in: 1 ... .max), toByteOffset: 72, as: UInt64.self)
    base.storeBytes(of: Journal.version, toByteOffset: 8, as: UInt32.self)
    base.storeBytes(of: UInt32(Journal.slots), toByteOffset: 12, as: UInt32.self)
    atomicMemoryFence(ordering: .releasing)
    base.storeBytes(of: Journal.magic, as: UInt64.self)
    machine = Journal.machine(UnsafeRawBufferPointer(start: base, count: Journal.length))
  }

  deinit { munmap(base, Journal.length) }

  /// Removes the file: the session is over.
  func remove() { _ = Glibc.unlink(path) }

  // MARK: - What is known

  /// The record of the request with this number; nil if there is none.
  func recall(_ sequence: UInt64) -> JournalRecord? {
    guard let memory = memory(of: sequence) else { return nil }
    guard let state = JournalRecord.State(rawValue: load(memory)), state != .free else { return nil }
    let record = JournalRecord(state, from: UnsafeRawBufferPointer(memory))
    return record.sequence == sequence ? record : nil
  }

  /// A change is about to be made: before its first system call.
  func intend(_ record: JournalRecord) { put(record) }

  // MARK: - What the session tells

  func greeted(by instance: UInt64) {
    lock.withLock { _ in
      guard base.load(fromByteOffset: 80, as: UInt64.self) != instance else { return }
      // The numbers of another program of the client begin anew.
      for slot in 0..<Journal.slots {
        store(
          .free, UnsafeMutableRawBufferPointer(start: base + Journal.header + slot * JournalRecord.length, count: 4))
      }
      atomicMemoryFence(ordering: .releasing)
      base.storeBytes(of: instance, toByteOffset: 80, as: UInt64.self)
    }
  }

  func keep(_ reply: Frame, to request: Header) {
    var reader = Reader(reply)
    guard let header = try? Header(&reader) else { return }
    var record = JournalRecord(.done, operation: request.operation, sequence: request.sequence)
    if let known = recall(request.sequence) {
      // Of an answer of several replies the first one counts.
      guard known.state == .intended else { return }
      record = known
      record.state = .done
    }
    record.status = header.status
    if header.status == 0 {
      let reply = Reply(header, in: reply)
      switch Operation(rawValue: request.operation) {
      case .create, .open, .reopen: record.source = (try? reply.attributes())?.identity
      case .append:
        if let appended = try? reply.appended() { (record.offset, record.count) = (appended.offset, appended.count) }
      default: break
      }
    }
    put(record)
  }

  // MARK: - Memory

  /// What is stored before it is there before what is stored after it.
  func fence() { atomicMemoryFence(ordering: .releasing) }

  private func put(_ record: JournalRecord) {
    guard let memory = memory(of: record.sequence) else { return }
    store(.free, memory)
    atomicMemoryFence(ordering: .releasing)
    record.writeFields(to: memory)
    atomicMemoryFence(ordering: .releasing)
    store(record.state, memory)
  }

  private func memory(of sequence: UInt64) -> UnsafeMutableRawBufferPointer? {
    // The slot of the number, as the session counts it.
    let slot = Int(sequence & 0xffff)
    guard slot < Journal.slots else { return nil }
    return UnsafeMutableRawBufferPointer(
      start: base + Journal.header + slot * JournalRecord.length, count: JournalRecord.length)
  }

  private func load(_ memory: UnsafeMutableRawBufferPointer) -> UInt32 {
    defer { atomicMemoryFence(ordering: .acquiring) }
    return memory.load(as: UInt32.self)
  }

  private func store(_ state: JournalRecord.State, _ memory: UnsafeMutableRawBufferPointer) {
    memory.storeBytes(of: state.rawValue, as: UInt32.self)
  }

  // MARK: - The file

  /// Maps the file at `path`; nil if there is none, or it is not the user's alone, or not as long as it should be.
  private static func map(_ path: String) -> UnsafeMutableRawPointer? {
    let file = Glibc.open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(),
      status.st_mode & 0o077 == 0, Int(status.st_size) == length
    else { return nil }
    return try? map(file)
  }

  private static func map(_ file: CInt) throws(Errno) -> UnsafeMutableRawPointer {
    guard let mapping = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), mapping != MAP_FAILED else {
      throw Errno(rawValue: errno)
    }
    return mapping
  }

  /// Makes an empty file at `path`, in the place of whatever is there.
  private static func make(_ path: String) throws(Errno) -> UnsafeMutableRawPointer {
    _ = Glibc.unlink(path)
    let file = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    defer { close(file) }
    // Its blocks are taken now: a store to memory that the disk has no room for would be SIGBUS.
    let error = posix_fallocate(file, 0, off_t(length))
    guard error == 0 else {
      _ = Glibc.unlink(path)
      throw Errno(rawValue: error)
    }
    return try map(file)
  }

  private static func machine(_ header: UnsafeRawBufferPointer) -> UInt64 {
    // FNV-1a, 64 bits, of boot id and salt: only to tell one from another.
    header[32..<80].reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// What the kernel has drawn for this boot, as text; something random where it does not say, so that nothing written
  /// before is believed.
  static func bootID() -> [UInt8] {
    let random = withUnsafeBytes(of: (UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max))) { Array($0) }
    let file = Glibc.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return random }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 36)
    return Glibc.read(file, &bytes, bytes.count) == bytes.count ? bytes : random
  }
}

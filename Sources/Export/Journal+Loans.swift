import P2PFSCore
import SystemPackage
import P2PFSWire

/// A permission that the owner of a file has lent himself for a moment, to open it again. A process that dies in between
/// leaves the note of it, by which the next one takes it back.
struct Loan: Equatable {
  var path: Path
  /// The file's number and birth (`FileIdentity`). Not its device, whose number another boot may draw anew.
  var inode: UInt64
  var generation: UInt64
  /// The permission bits before, and meanwhile.
  var mode: UInt32
  var lent: UInt32
}

/// Notes of loans, in the journal's header:
/// ```
///  0      4      8      12      16      24           32
/// +------+------+------+-------+-------+------------+------
/// | made | mode | lent | count | inode | generation | path
/// +------+------+------+-------+-------+------------+------
/// ```
extension Journal {
  /// As many as may be lent at once, in what the header leaves free: as many as there are workers.
  static let loans = 4
  private static let firstLoan = 128
  private static let loanLength = (header - firstLoan) / loans
  private static let longestPath = loanLength - 32

  private static func loanMemory(_ number: Int, of base: UnsafeMutableRawPointer) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + firstLoan + number * loanLength, count: loanLength)
  }

  /// The loans that are noted in a mapped journal, whatever boot it is of.
  static func readLoans(_ base: UnsafeMutableRawPointer) -> [Loan] {
    (0..<loans).compactMap { number in
      let memory = loanMemory(number, of: base)
      func field(_ offset: Int) -> UInt32 { memory.load(fromByteOffset: offset, as: UInt32.self) }
      let count = Int(field(12))
      guard field(0) != 0, (1...longestPath).contains(count), let path = try? Path(memory[32..<(32 + count)]) else {
        return nil
      }
      return Loan(
        path: path, inode: memory.load(fromByteOffset: 16, as: UInt64.self),
        generation: memory.load(fromByteOffset: 24, as: UInt64.self), mode: field(4) & 0o1777, lent: field(8) & 0o1777)
    }
  }

  /// Notes a loan, before the mode is changed. Where a disk is slow there may be more workers: then it waits for one of
  /// them. On a worker.
  /// - Returns: by which it is settled; nil if its path has no room: better a file that a crash at this very moment leaves
  ///   writable than one that is not opened.
  func note(_ loan: Loan) -> Int? {
    guard (1...Journal.longestPath).contains(loan.path.bytes.count) else { return nil }
    let number = loanNumbers.wait { taken in
      let free = (0..<Journal.loans).first { !taken.contains($0) }
      if let free { taken.insert(free) }
      return free
    }
    let memory = Journal.loanMemory(number, of: base)
    memory.storeBytes(of: loan.mode, toByteOffset: 4, as: UInt32.self)
    memory.storeBytes(of: loan.lent, toByteOffset: 8, as: UInt32.self)
    memory.storeBytes(of: UInt32(loan.path.bytes.count), toByteOffset: 12, as: UInt32.self)
    memory.storeBytes(of: loan.inode, toByteOffset: 16, as: UInt64.self)
    memory.storeBytes(of: loan.generation, toByteOffset: 24, as: UInt64.self)
    UnsafeMutableRawBufferPointer(rebasing: memory[32...]).copyBytes(from: loan.path.bytes)
    setLoan(number, true)
    return number
  }

  /// The mode is what it was, or is the owner's own affair by now.
  func settle(_ number: Int) {
    setLoan(number, false)
    loanNumbers.change { _ = $0.remove(number) }
  }

  /// Forgets what an earlier process has noted.
  func forgetLoans() { for number in 0..<Journal.loans { setLoan(number, false) } }

  private func setLoan(_ number: Int, _ isMade: Bool) {
    fence()
    Journal.loanMemory(number, of: base).storeBytes(of: isMade ? 1 : 0, as: UInt32.self)
  }
}

extension ConfinedDirectory {
  /// Takes back what an earlier process has lent itself, if that is the file and has still the mode that was lent.
  func takeBack(_ loan: Loan) {
    guard let object = try? object(at: loan.path),
      let now = try? FileStatus(object.rawValue).attributes(object.rawValue),
      now.type == .regular, now.identity.inode == loan.inode, now.identity.generation == loan.generation,
      now.mode & 0o1777 == loan.lent
    else { return }
    _ = try? change(object.rawValue, AttributeChanges(mode: loan.mode))
  }

  /// Opens the file at `path`, which was open before: its mode may forbid by now what its opener may do, as that of a
  /// file that was made read-only and written to. Its owner then lends himself the permission for a moment: a descriptor
  /// does not outlive its process, and to open one with O_PATH again by /proc takes the permission, too.
  func openAgain(_ path: Path, _ options: OpenOptions, _ journal: Journal?) throws(Errno) -> Descriptor {
    do { return try open(path, options) } catch {
      guard error == .permissionDenied else { throw error }
      // Held, so that it is one file from here on, whatever has its name.
      let object = try object(at: path)
      let attributes = try FileStatus(object.rawValue).attributes(object.rawValue)
      guard attributes.type == .regular else { throw error }
      let wanted: UInt32 = (options.contains(.read) ? 0o400 : 0) | (options.contains(.write) ? 0o200 : 0)
      let mode = attributes.mode & 0o1777
      guard mode & wanted != wanted else { throw error }
      let note = journal?.note(
        Loan(
          path: path, inode: attributes.identity.inode, generation: attributes.identity.generation, mode: mode,
          lent: mode | wanted))
      defer { if let note { journal?.settle(note) } }
      guard (try? change(object.rawValue, AttributeChanges(mode: mode | wanted))) != nil else { throw error }
      defer { _ = try? change(object.rawValue, AttributeChanges(mode: mode)) }
      return try ConfinedDirectory.openAgain(object.rawValue, options)
    }
  }
}

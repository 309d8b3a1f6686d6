package import P2PFSCore
import Synchronization

/// How far a transfer is, for who shows it. From any thread.
package final class TransferProgress: Sendable {
  /// What is done to a file.
  package enum Activity: Sendable {
    case moving
    /// What is there of it is hashed.
    case checking
    /// All is being brought to disk, here or there.
    case writing
  }

  private let doneBytes = Atomic<Int64>(0)
  private let movedBytes = Atomic<Int64>(0)
  private let doneFiles = Atomic<UInt64>(0)
  private let counting = Atomic<Bool>(false)
  private let asking = Atomic<Bool>(false)
  private let totals = Mutex<(bytes: Int64, files: UInt64, since: Instant)?>(nil)
  private let turn = Mutex<(Activity, path: [UInt8])>((.moving, []))

  /// Nothing is done yet.
  package init() {}

  /// Bytes and files of the whole, and when it began; nil until they are known and agreed upon.
  package var total: (bytes: Int64, files: UInt64, since: Instant)? { totals.withLock { $0 } }
  /// Bytes that are dealt with: sent or received, or found to be there.
  package var done: Int64 { doneBytes.load(ordering: .relaxed) }
  /// Bytes of contents that went over the channel.
  package var moved: Int64 { movedBytes.load(ordering: .relaxed) }
  /// Files that are dealt with.
  package var files: UInt64 { doneFiles.load(ordering: .relaxed) }
  /// What is done now, and to which file. Escape it before it is shown.
  package var current: (Activity, path: [UInt8]) { turn.withLock { $0 } }
  /// Whether both sides wait for the sender to count what it has.
  package internal(set) var isCounting: Bool {
    get { counting.load(ordering: .relaxed) }
    set { counting.store(newValue, ordering: .relaxed) }
  }

  /// Whether the receiver's user is being asked for agreement to what was offered.
  package internal(set) var isAsking: Bool {
    get { asking.load(ordering: .relaxed) }
    set { asking.store(newValue, ordering: .relaxed) }
  }

  func begin(_ bytes: Int64, files: UInt64) { totals.withLock { $0 = (bytes, files, .now) } }
  func turn(to path: [UInt8], _ activity: Activity = .moving) { turn.withLock { $0 = (activity, path) } }
  func move(_ count: Int) {
    movedBytes.wrappingAdd(Int64(count), ordering: .relaxed)
    doneBytes.wrappingAdd(Int64(count), ordering: .relaxed)
  }
  func find(_ count: Int64) { doneBytes.wrappingAdd(count, ordering: .relaxed) }
  func finishFile() { doneFiles.wrappingAdd(1, ordering: .relaxed) }
}

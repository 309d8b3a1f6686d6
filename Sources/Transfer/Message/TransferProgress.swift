package import P2PFSCore
import Synchronization

/// The progress of a transfer, for display. From any thread.
package final class TransferProgress: Sendable {
  /// The present activity.
  package enum Activity: Sendable {
    case moving
    /// Hashing existing data.
    case checking
    /// Syncing to disk, on either side.
    case writing
  }

  private let doneBytes = Atomic<Int64>(0)
  private let movedBytes = Atomic<Int64>(0)
  private let doneFiles = Atomic<UInt64>(0)
  private let counting = Atomic<Bool>(false)
  private let asking = Atomic<Bool>(false)
  private let totals = Mutex<(bytes: Int64, files: UInt64, since: Instant)?>(nil)
  private let turn = Mutex<(Activity, path: [UInt8])>((.moving, []))

  /// No progress yet.
  package init() {}

  /// Bytes and files of the whole transfer, and its start; nil until they are known and agreed upon.
  package var total: (bytes: Int64, files: UInt64, since: Instant)? { totals.withLock { $0 } }
  /// Bytes that are sent, received, or found to be there already.
  package var done: Int64 { doneBytes.load(ordering: .relaxed) }
  /// Bytes of contents that were transferred over the channel.
  package var moved: Int64 { movedBytes.load(ordering: .relaxed) }
  /// Files that are complete or given up.
  package var files: UInt64 { doneFiles.load(ordering: .relaxed) }
  /// The present activity and its file. Escape the name before it is shown.
  package var current: (Activity, path: [UInt8]) { turn.withLock { $0 } }
  /// Whether both sides wait until the sender has counted its files.
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

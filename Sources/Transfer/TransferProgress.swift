internal import Core
internal import Synchronization

/// How far a transfer is, for who shows it. From any thread.
package final class TransferProgress: Sendable {
  private let doneBytes = Atomic<Int64>(0)
  private let movedBytes = Atomic<Int64>(0)
  private let doneFiles = Atomic<UInt64>(0)
  private let totals = Mutex<(bytes: Int64, files: UInt64)?>(nil)
  private let path = Mutex<[UInt8]>([])

  /// Nothing is done yet.
  package init() {}

  /// Bytes and files of the whole; nil until they are known and agreed upon.
  package var total: (bytes: Int64, files: UInt64)? { totals.withLock { $0 } }
  /// Bytes that are dealt with: sent or received, or found to be there.
  package var done: Int64 { doneBytes.load(ordering: .relaxed) }
  /// Bytes of contents that went over the channel.
  package var moved: Int64 { movedBytes.load(ordering: .relaxed) }
  /// Files that are dealt with.
  package var files: UInt64 { doneFiles.load(ordering: .relaxed) }
  /// The file that is sent or received now. Escape it before it is shown.
  package var current: [UInt8] { path.withLock { $0 } }

  func begin(_ bytes: Int64, files: UInt64) { totals.withLock { $0 = (bytes, files) } }
  func turn(to path: [UInt8]) { self.path.withLock { $0 = path } }
  func move(_ count: Int) {
    movedBytes.wrappingAdd(Int64(count), ordering: .relaxed)
    doneBytes.wrappingAdd(Int64(count), ordering: .relaxed)
  }
  func find(_ count: Int64) { doneBytes.wrappingAdd(count, ordering: .relaxed) }
  func finishFile() { doneFiles.wrappingAdd(1, ordering: .relaxed) }
}

import P2PFSCore
import SystemPackage
import P2PFSWire

/// The directories of a transfer, whose times and permissions are set when all of their contents are there.
///
/// The paths share one buffer, so that a million of them need little memory.
struct DirectoryTable {
  private struct Entry {
    let end: Int
    let modified: Timestamp
    /// 0xffff: the mode is not changed.
    let mode: UInt16
    let number: UInt32
  }

  private var entries: [Entry] = []
  private var paths: [UInt8] = []

  /// Adds a directory.
  /// - Returns: false if there are too many.
  mutating func add(_ number: UInt64, _ entry: TransferEntry, mode: UInt32?) -> Bool {
    guard paths.count + entry.path.bytes.count <= Limits.Transfer.directoryBytes else { return false }
    paths += entry.path.bytes
    entries.append(
      Entry(end: paths.count, modified: entry.modified, mode: mode.map { UInt16($0) } ?? .max, number: UInt32(number)))
    return true
  }

  /// Sets times and permissions, the innermost directory first. Calls `failed` for those that could not be set, except
  /// for existing directories that belong to another user.
  func settle(
    by change: (Path, AttributeChanges) throws(Errno) -> Void, failed: (_ number: UInt64, Path, Errno) -> Void
  ) {
    for index in entries.indices.reversed() {
      let entry = entries[index]
      let start = index > 0 ? entries[index - 1].end : 0
      guard let path = try? Path(paths[start..<entry.end]) else { continue }
      do throws(Errno) {
        try change(
          path,
          AttributeChanges(mode: entry.mode == .max ? nil : UInt32(entry.mode), modified: .set(entry.modified)))
      } catch {
        guard entry.mode != .max || error != .notPermitted else { continue }
        failed(UInt64(entry.number), path, error)
      }
    }
  }
}

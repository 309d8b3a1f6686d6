import Synchronization
import SystemPackage
import P2PFSWire

/// The thread that compares each entry with existing files, in order of arrival.
extension TransferReceiver {
  /// Runs until there are no more entries.
  func examineAll() {
    do throws(TransferFailure) {
      while let (number, entry) = entries.pop(), isWanted { try examine(number, entry) }
    } catch {
      fail(error)
    }
    // No entry is taken any more: release a thread that waits for room.
    entries.close()
    examined.push(())
  }

  private func examine(_ number: UInt64, _ entry: TransferEntry) throws(TransferFailure) {
    do {
      switch entry.kind {
      case .directory:
        let mode = try target.makeDirectory(entry)
        guard directories.add(number, entry, mode: mode) else { throw Errno.noMemory }
      case .link(let destination): try target.makeLink(entry, to: destination)
      case .file(let size): return try examine(number, entry, size)
      }
    } catch let failure as TransferFailure {
      throw failure
    } catch {
      try refuse(number, entry.path, error)
    }
  }

  private func examine(_ number: UInt64, _ entry: TransferEntry, _ size: Int64) throws(TransferFailure) {
    let answer: TransferTarget.Answer
    do {
      answer = try target.examine(entry.path, size: size) {
        // Called while contents are hashed.
        progress.turn(to: entry.path.bytes, .checking)
        return isWanted
      }
    } catch Errno.canceled {
      return
    } catch {
      shared.withLock { $0.state.refuse(number) }
      return try refuse(number, entry.path, EntryRefusal.reason(of: error))
    }
    // Recorded before the request is sent, since the answer may arrive before this returns. The sender may have
    // reported the file as left out meanwhile.
    switch answer {
    case .want(let beginning):
      let isUnderWay = shared.withLock { shared in
        guard shared.state.isUnderWay(number) else { return false }
        shared.awaited[number] = .contents(entry, beginning)
        shared.state.want(number, have: beginning.have)
        return true
      }
      if isUnderWay { try say(.want(number: number, have: beginning.have, hash: beginning.hash)) }
    case .check(let hash):
      let isUnderWay = shared.withLock { shared in
        guard shared.state.isUnderWay(number) else { return false }
        shared.awaited[number] = .hash(entry, hash)
        shared.state.check(number)
        return true
      }
      if isUnderWay { try say(.check(number: number)) }
    }
  }
}

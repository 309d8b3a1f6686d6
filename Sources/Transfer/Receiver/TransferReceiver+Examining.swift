import Synchronization
import SystemPackage
import P2PFSWire

/// The thread that looks at what there is of an entry, in the order in which they come.
extension TransferReceiver {
  /// Runs until there are no more.
  func examineAll() {
    do throws(TransferFailure) {
      while let (number, entry) = entries.pop(), isWanted { try examine(number, entry) }
    } catch {
      fail(error)
    }
    // Nobody takes any more of them: who waits for room is not to wait for ever.
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
        // Asked for while contents are hashed.
        progress.turn(to: entry.path.bytes, .checking)
        return isWanted
      }
    } catch Errno.canceled {
      return
    } catch {
      shared.withLock { $0.state.refuse(number) }
      return try refuse(number, entry.path, EntryRefusal.reason(of: error))
    }
    // Known before it is asked for, since the answer may be there before this returns. Unless the sender has named it as
    // left out meanwhile.
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

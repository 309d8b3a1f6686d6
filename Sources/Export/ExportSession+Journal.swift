import P2PFSCore
import Glibc
import P2PFSSession
import SystemPackage
import P2PFSWire

/// What an earlier process of this computer has left: changes that the client asks for again, and files that it had open.
extension ExportSession {
  /// Serves a request that an earlier process has had already, or notes what is needed to know of this one whether it
  /// was done. On a worker.
  /// - Returns: false if it is to be served as any other.
  /// - Throws: `Errno`, if nothing was answered yet.
  func recall(_ request: Request, _ exchange: Exchange, arrival: UInt64) throws -> Bool {
    guard let journal, request.operation.changes else { return false }
    let sequence = exchange.header.sequence
    guard let record = journal.recall(sequence), record.operation == exchange.header.operation else {
      note(request, sequence)
      return closeForgotten(request, exchange)
    }
    // Where the names are is another directory by now: what they stand for there says nothing, and nothing is done there.
    if record.state == .intended, !isInPlace(request) { return false }
    switch record.verdict(for: request, now: names(of: request)) {
    case .undone: return try serveAgain(request, exchange, arrival: arrival, record)
    case .done(let error?):
      exchange.fail(error)
      if case .append(let handle, _, _) = request { try table.file(handle).gathered.fail(error) }
    case .done(nil): try answerAgain(request, exchange, record)
    }
    // An error that a close has ended with was its answer; the file is closed all the same.
    if case .close(let handle, _) = request { _ = try? table.remove(handle) }
    return true
  }

  /// Notes before a request is served what is needed to know afterwards whether it was.
  func note(_ request: Request, _ sequence: UInt64) {
    if let intent = intent(for: request, sequence) { journal?.intend(intent) }
  }

  /// What the journal is to hold before a change is made; nil for what may be done twice.
  private func intent(for request: Request, _ sequence: UInt64) -> JournalRecord? {
    var record = JournalRecord(operation: request.operation.rawValue, sequence: sequence)
    switch request {
    case .mkdir, .mknod, .symlink, .link, .create, .unlink, .rmdir, .rename:
      let names = before(request)
      (record.source, record.target) = (names.source, names.target)
      return record
    default: return nil
    }
  }

  private func identity(_ place: Place) -> FileIdentity? { (try? share.directory.attributes(at: place))?.identity }

  /// Whether the directories of the names of a request are those that the client means.
  private func isInPlace(_ request: Request) -> Bool {
    let places: [Place] =
      switch request {
      case .mkdir(let place, _, _), .mknod(let place, _, _), .symlink(let place, _), .link(_, let place),
        .unlink(let place), .rmdir(let place), .create(_, let place, _, _, _):
        [place]
      case .rename(let place, let to, _): [place, to]
      default: []
      }
    return places.allSatisfy { place in
      do throws(Errno) {
        _ = try share.directory.entry(at: place)
        return true
      } catch {
        return error != .staleNFSFileHandle
      }
    }
  }

  /// What has the names of a request before it is served.
  private func before(_ request: Request) -> JournalRecord.Names {
    switch request {
    case .mkdir(let place, _, _), .mknod(let place, _, _), .symlink(let place, _), .link(_, let place),
      .unlink(let place), .rmdir(let place), .create(_, let place, _, _, _):
      JournalRecord.Names(source: identity(place))
    case .rename(let place, let to, _): JournalRecord.Names(source: identity(place), target: identity(to))
    default: JournalRecord.Names()
    }
  }

  /// What has the names of a request now, if that was made by it.
  private func names(of request: Request) -> JournalRecord.Names {
    func made(_ place: Place, _ isThat: (Attributes) -> Bool) -> JournalRecord.Names {
      let attributes = try? share.directory.attributes(at: place)
      return JournalRecord.Names(source: attributes.flatMap { isThat($0) ? $0.identity : nil })
    }
    switch request {
    case .mkdir(let place, _, _): return made(place) { $0.type == .directory }
    case .mknod(let place, let mode, _): return made(place) { $0.type == FileType(mode: mode) }
    case .create(_, let place, _, _, _): return made(place) { $0.type == .regular }
    case .symlink(let place, let target):
      return made(place) { _ in (try? share.directory.target(ofLinkAt: place.path)) == target }
    case .link(let existing, let place):
      let file =
        switch existing {
        case .path(let existing): identity(existing)
        case .handle(let handle): (try? table.file(handle).attributes())?.identity
        }
      return made(place) { $0.identity == file }
    default: return before(request)
    }
  }

  /// Serves a request that was begun with: some of it may be done already.
  private func serveAgain(
    _ request: Request, _ exchange: Exchange, arrival: UInt64, _ record: JournalRecord
  ) throws -> Bool {
    switch request {
    case .setattr(let target, var changes):
      // A mode that was set already may forbid what was done before it.
      do { try serve(request, exchange, arrival: arrival) } catch let error as Errno {
        guard error == .permissionDenied, let size = changes.size, changes.mode != nil,
          try attributes(of: target).size == size
        else { throw error }
        changes.size = nil
        try serve(.setattr(target, changes), exchange, arrival: arrival)
      }
      return true
    default: return false
    }
  }

  /// Answers the close of a file that an earlier process had open, and that was closed with it.
  private func closeForgotten(_ request: Request, _ exchange: Exchange) -> Bool {
    guard case .close(let handle, _) = request, journal?.remembers ?? false, !table.knows(handle) else { return false }
    done(exchange)
    return true
  }

  /// Answers a request that was done. Attributes are those of now.
  private func answerAgain(_ request: Request, _ exchange: Exchange, _ record: JournalRecord) throws {
    switch request {
    case .setattr(let target, _): answer(exchange, try attributes(of: target))
    case .mkdir(let place, _, _), .mknod(let place, _, _), .symlink(let place, _), .link(_, let place):
      answer(exchange, try share.directory.attributes(at: place))
    case .create(let handle, let place, let options, _, _), .open(let handle, .path(let place), let options, _):
      // Of a creation that was only begun with, what it has made is what is there.
      answer(exchange, try reopen(handle, place.path, options, record.state == .done ? record.source : nil))
    case .reopen(let handle, let path, let options, _):
      answer(exchange, try reopen(handle, path, options, record.state == .done ? record.source : nil))
    case .open(let handle, let target, let options, _):
      if let file = try? table.file(handle) { return answer(exchange, try file.attributes()) }
      try serve(.open(handle, target, options.subtracting(.truncate), prefetch: 0), exchange, arrival: 0)
    case .append(let handle, let more, _):
      let appended = Appended(offset: record.offset, count: record.count)
      let frame = Frame.reply(to: exchange.header, body: Appended.length)
      appended.write(to: frame)
      exchange.reply(frame)
      // Parts before the last one whose answers were not noted any more.
      if !more { try table.file(handle).gathered.answer(appended) }
    default: done(exchange)
    }
  }

  private func attributes(of target: Target) throws(Errno) -> Attributes {
    switch target {
    case .path(let place): try share.directory.attributes(at: place)
    case .handle(let handle): try table.file(handle).attributes()
    }
  }

  /// Adds `parts` to the end of a file, or what of them an earlier process has not. `exchange` is that of the last part.
  func append(
    _ parts: [FrameSlice], to file: ServedFile, _ exchange: Exchange, _ arrival: UInt64
  ) throws(Errno) -> Appended {
    let lastArrival = { [share, number] in share.workers.lastArrival(of: number) }
    guard let journal else { return try file.append(parts, arrival: arrival, lastArrival: lastArrival) }
    let count = parts.reduce(0) { $0 + $1.count }
    var record = JournalRecord(operation: exchange.header.operation, sequence: exchange.header.sequence)
    if let known = journal.recall(record.sequence), known.operation == record.operation {
      switch file.verdict(of: parts, size: known.size) {
      case .undone: break
      case .done(let offset): return Appended(offset: offset, count: UInt32(count))
      case .part(let offset, let done):
        let rest = try file.append(ServedFile.rest(of: parts, from: done), arrival: arrival, lastArrival: lastArrival)
        return Appended(offset: offset, count: UInt32(done) + rest.count)
      }
    }
    record.size = try file.attributes().size
    record.count = UInt32(count)
    journal.intend(record)
    return try file.append(parts, arrival: arrival, lastArrival: lastArrival)
  }

  /// Opens what an earlier process had open under this handle, without truncating or making anything.
  ///
  /// What cannot be had any more is known as such: all that is asked of the handle ends with the same error, until it is
  /// closed.
  /// - Parameter identity: which file it was; nil: whichever is there.
  /// - Throws: `ESTALE` if another file is there, or none; `EIO` if the path is the root's: then it had no name.
  func reopen(
    _ handle: Handle, _ path: Path, _ options: OpenOptions, _ identity: FileIdentity?
  ) throws(Errno) -> Attributes {
    // Asked for again, since the connection broke.
    if let file = try? table.file(handle) { return try file.attributes() }
    _ = table.bury(handle)
    do throws(Errno) {
      let (_, attributes) = try open(handle, options.subtracting([.truncate, .exclusive])) { () throws(Errno) in
        let now = try share.directory.attributes(at: path).identity
        guard identity == nil || identity == now else { throw path.isRoot ? .ioError : .staleNFSFileHandle }
        return try share.directory.openAgain(path, options.subtracting([.truncate, .exclusive]), journal)
      }
      // It was looked at by its name, and may have been replaced since.
      guard identity == nil || identity == attributes.identity else {
        _ = try? table.remove(handle)
        throw Errno.staleNFSFileHandle
      }
      return attributes
    } catch {
      let isGone = error == .noSuchFileOrDirectory || error == .notDirectory
      let error = isGone ? Errno.staleNFSFileHandle : error
      table.lay(handle, error)
      throw error
    }
  }
}

extension ServedFile {
  /// What of an append is in the file, which had `size` bytes before an earlier process began with it.
  fileprivate func verdict(of parts: [FrameSlice], size: Int64) -> AppendVerdict {
    let count = parts.reduce(0) { $0 + $1.count }
    guard count > 0, let now = try? attributes().size, now > size else { return .undone }
    // Others may have appended, too; not without an end.
    let wanted = Int(min(now - size, Int64(count + Limits.Wire.append)))
    var grown = [UInt8](repeating: 0, count: wanted)
    let read = grown.withUnsafeMutableBytes { buffer in
      (try? withDescriptor { file throws(Errno) in
        let again = try ConfinedDirectory.openAgain(file, .read)
        return pread(again.rawValue, buffer.baseAddress, buffer.count, off_t(size))
      }) ?? -1
    }
    // A file that cannot be read: its size says as much as can be known.
    guard read == wanted else { return now >= size + Int64(count) ? .done(offset: size) : .undone }
    let data = parts.flatMap { part in withExtendedLifetime(part) { Array(part.bytes) } }
    return data.withUnsafeBytes { data in
      grown.withUnsafeBytes { AppendVerdict(of: data, size: size, grown: $0, isAll: size + Int64(wanted) == now) }
    }
  }

  /// What is left of parts without their first bytes.
  fileprivate static func rest(of parts: [FrameSlice], from start: Int) -> [FrameSlice] {
    var left = start
    return parts.compactMap { part in
      let skipped = min(left, part.count)
      left -= skipped
      return skipped < part.count
        ? FrameSlice(part.frame, (part.range.lowerBound + skipped)..<part.range.upperBound) : nil
    }
  }
}

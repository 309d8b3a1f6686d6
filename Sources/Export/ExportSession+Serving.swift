import CP2PFSLinux
import P2PFSCore
import Glibc
import P2PFSSession
import SystemPackage
import P2PFSWire

/// Serving one request, on a worker.
extension ExportSession {
  /// Decodes a request and answers it; or ends the session.
  func perform(_ work: Work, arrival: UInt64) {
    guard let (request, exchange) = work.request else { return table.end() }
    do {
      var reader = Reader(request, from: min(Header.length, request.count))
      let decoded = try Request(operation: exchange.header.operation, &reader)
      if share.isReadOnly, decoded.isChange { throw RequestError.refused(.readOnlyFileSystem) }
      if try recall(decoded, exchange, arrival: arrival) { return }
      try serve(decoded, exchange, arrival: arrival)
    } catch let error as RequestError {
      switch error {
      case .refused(let error): exchange.fail(error)
      case .malformed(let message):
        exchange.malformed(message)
        exchange.fail(.invalidArgument)
      }
    } catch let error as Errno {
      exchange.fail(error)
    } catch {
      preconditionFailure("nothing else is thrown")
    }
  }

  /// - Throws: `Errno`, if nothing was answered yet.
  func serve(_ request: Request, _ exchange: Exchange, arrival: UInt64) throws {
    let directory = share.directory
    switch request {
    case .lookup(.path(let place)): answer(exchange, try directory.attributes(at: place))
    case .lookup(.handle(let handle)):
      answer(exchange, try table.file(handle).attributes())
    case .setattr(.path(let place), let changes): answer(exchange, try directory.change(place, changes))
    case .setattr(.handle(let handle), let changes):
      answer(exchange, try table.file(handle).change(changes, in: directory))
    case .list(let handle, let place, let cookie): try list(handle, place, from: cookie, exchange)
    case .readlink(let path):
      let target = try directory.target(ofLinkAt: path)
      let frame = Frame.reply(to: exchange.header, body: target.count)
      target.withUnsafeBytes { frame.write($0) }
      exchange.reply(frame)
    case .symlink(let place, let target):
      answer(exchange, try directory.makeSymbolicLink(at: place, target: target))
    case .link(.path(let existing), let place): answer(exchange, try directory.link(existing, to: place))
    case .link(.handle(let handle), let place):
      let file = try table.file(handle)
      answer(exchange, try file.withDescriptor { file throws(Errno) in try directory.link(file, to: place) })
    case .mkdir(let place, let mode, let umask):
      answer(exchange, try directory.makeDirectory(at: place, mode: mode, umask: umask))
    case .mknod(let place, let mode, let umask):
      answer(exchange, try directory.makeNode(at: place, mode: mode, umask: umask))
    case .unlink(let place):
      try directory.unlink(place)
      done(exchange)
    case .rmdir(let place):
      try directory.removeDirectory(place)
      done(exchange)
    case .rename(let place, let to, let mode):
      try directory.rename(place, to: to, mode)
      done(exchange)
    case .create(let handle, let place, let options, let mode, let umask):
      let file = try open(handle, options) { () throws(Errno) in
        try directory.create(place, options, mode: mode, umask: umask)
      }
      answer(exchange, file.attributes)
    case .open(let handle, let target, let options, let prefetch):
      let (file, attributes) = try open(handle, options) { () throws(Errno) in
        switch target {
        case .path(let place): return try directory.open(place, options)
        case .handle(let known): return try table.file(known).openAgain(options)
        }
      }
      if prefetch > 0, options.contains(.read), attributes.type == .regular {
        answer(exchange, attributes, more: true, on: .bulk)
        send(file, from: 0, count: Int(prefetch), version: attributes.version, exchange)
      } else {
        answer(exchange, attributes)
      }
    case .read(let handle, let offset, let count):
      let file = try table.file(handle)
      send(file, from: offset, count: Int(count), version: try file.attributes().version, exchange)
    case .write(let handle, let offset, let data):
      let file = try table.file(handle)
      // The bytes lie in the message, which nothing uses any more.
      defer { withExtendedLifetime(data) {} }
      try file.write(data.bytes, at: offset)
      done(exchange)
    case .append(let handle, let more, let data): try append(table.file(handle), more: more, data, exchange, arrival)
    case .fsync(let handle, let dataOnly):
      try table.file(handle).sync(dataOnly: dataOnly)
      done(exchange)
    case .flush(let handle):
      try table.file(handle).flush()
      done(exchange)
    case .reopen(let handle, let path, let options, let identity):
      answer(exchange, try reopen(handle, path, options, identity))
    case .close(let handle, let accessed):
      if table.bury(handle) { return done(exchange) }
      try table.remove(handle).close(accessed: accessed)
      done(exchange)
    case .statfs(let path):
      let frame = Frame.reply(to: exchange.header, body: 64)
      try directory.statistics(at: path).write(to: frame)
      exchange.reply(frame)
    case .seek(let handle, let offset, let target):
      let found = try table.file(handle).withDescriptor { file throws(Errno) in
        let found = lseek(file, off_t(offset), target == .data ? SEEK_DATA : SEEK_HOLE)
        guard found >= 0 else { throw Errno(rawValue: errno) }
        return found
      }
      let frame = Frame.reply(to: exchange.header, body: 8)
      frame.write(min(Int64(found), Limits.Wire.fileSize))
      exchange.reply(frame)
    case .allocate(let handle, let offset, let count, let mode):
      // Keep size, punch hole, zero range; the kernel knows which combinations make sense, and checks the sum.
      guard mode & ~0x13 == 0 else { throw Errno.notSupported }
      try table.file(handle).allocate(offset, count, mode: mode)
      done(exchange)
    }
  }

  /// Opens a file under a handle that nothing else has.
  func open(
    _ handle: Handle, _ options: OpenOptions, _ opening: () throws(Errno) -> Descriptor
  ) throws(Errno) -> (file: ServedFile, attributes: Attributes) {
    try table.reserve(handle)
    do {
      let file = ServedFile(try opening(), options)
      let attributes = try file.attributes()
      table.fill(handle, file)
      return (file, attributes)
    } catch {
      table.fill(handle, nil)
      throw error
    }
  }

  /// Takes a part of an append; with the last one all of them are written, and answered.
  private func append(
    _ file: ServedFile, more: Bool, _ data: FrameSlice, _ exchange: Exchange, _ arrival: UInt64
  ) throws {
    do { try file.gathered.add(data, exchange) } catch {
      file.gathered.fail(.ioError)
      throw RequestError.malformed(error)
    }
    if more { return }
    do throws(Errno) {
      let parts = file.gathered.parts
      file.gathered.answer(try append(parts, to: file, exchange, arrival))
    } catch {
      file.gathered.fail(error)
    }
  }

  /// Answers with contents, each piece read straight into its message, all on the bulk lane. `version` is the state of
  /// the contents before the first was read: so what each of them says of itself is true.
  private func send(
    _ file: ServedFile, from offset: Int64, count: Int, version: Attributes.Version, _ exchange: Exchange
  ) {
    var done = 0
    while true {
      let wanted = min(count - done, Limits.Wire.data)
      let position = offset + Int64(done)
      do {
        let piece = Frame.piece(for: exchange.header, offset: position, version: version, more: false, room: wanted)
        let read = try file.read(UnsafeMutableRawBufferPointer(rebasing: piece.spare[..<wanted]), at: position)
        piece.count += read
        done += read
        let isLast = read < wanted || done == count
        piece.setMore(!isLast)
        exchange.reply(piece, isLast: isLast, on: .bulk)
        if isLast { return }
      } catch {
        return exchange.reply(Frame.reply(to: exchange.header, error: error), on: .bulk)
      }
    }
  }

  private func list(_ handle: Handle, _ place: Place, from cookie: UInt64, _ exchange: Exchange) throws(Errno) {
    let listing: DirectoryReader
    let isNew: Bool
    if let known = try table.listing(handle) {
      (listing, isNew) = (known, false)
    } else {
      guard let directory = try share.directory.openDirectory(place) else {
        let page = Frame.listing(for: exchange.header)
        page.finishListing(next: 0, isEnd: true, more: false)
        return exchange.reply(page)
      }
      (listing, isNew) = (try DirectoryReader(directory), true)
      // Before the first page goes out: it may be asked on at once.
      try table.add(listing, as: handle)
    }
    do {
      try listing.send(from: cookie, in: share.directory, to: exchange) {
        // Before the last page goes out, so that the handle is free when the peer learns of the end.
        _ = try? table.remove(handle)
      }
    } catch {
      if isNew { _ = try? table.remove(handle) }
      throw error
    }
  }

  func answer(_ exchange: Exchange, _ attributes: Attributes, more: Bool = false, on lane: Lane = .control) {
    let frame = Frame.reply(to: exchange.header, more: more, body: Attributes.length)
    attributes.write(to: frame)
    exchange.reply(frame, isLast: !more, on: lane)
  }

  func done(_ exchange: Exchange) {
    exchange.reply(Frame.reply(to: exchange.header))
  }
}

extension Request {
  /// Whether a read-only share refuses it.
  var isChange: Bool {
    switch self {
    case .lookup, .list, .readlink, .read, .fsync, .flush, .close, .statfs, .seek: false
    case .open(_, _, let options, _), .reopen(_, _, let options, _): options != .read
    case .setattr, .symlink, .link, .mkdir, .mknod, .unlink, .rmdir, .rename, .create, .write, .append, .allocate: true
    }
  }
}

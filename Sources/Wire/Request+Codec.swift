package import SystemPackage
package import P2PFSCore

/// Why a request was not decoded.
package enum RequestError: Error, Equatable {
  /// It breaks the format: the connection ends.
  case malformed(MalformedMessage)
  /// It is well formed, but asks for what cannot be: answered with this error.
  case refused(Errno)
}

extension Request {
  /// Encodes the request with room for the numbers that the session fills in (`Frame.number`).
  package func encoded() -> Frame {
    var room = Header.length + 64
    switch self {
    case .lookup(let target), .setattr(let target, _), .open(_, let target, _, _): room += target.room
    case .list(_, let place, _), .mkdir(let place, _, _), .mknod(let place, _, _), .unlink(let place),
      .rmdir(let place), .create(_, let place, _, _, _):
      room += place.room
    case .readlink(let path), .statfs(let path), .reopen(_, let path, _, _): room += path.bytes.count
    case .symlink(let place, let target): room += place.room + target.count
    case .link(let existing, let place): room += existing.room + place.room
    case .rename(let place, let to, _): room += place.room + to.room
    case .write(_, _, let data), .append(_, _, let data): room += data.count
    case .read, .fsync, .close, .seek, .allocate, .flush: break
    }
    let frame = Frame(capacity: room)
    Header(kind: .request, operation: operation.rawValue).write(to: frame)
    writeBody(to: frame)
    return frame
  }

  /// Starts a write request in place: the header and the fields, behind which the caller puts the data
  /// (at most `count` bytes, and `Limits.Wire.data`), so that it is copied only once.
  package static func writeFrame(_ handle: Handle, offset: Int64, count: Int) -> Frame {
    let frame = Frame(capacity: Header.length + 16 + count)
    Header(kind: .request, operation: Operation.write.rawValue).write(to: frame)
    frame.write(handle.rawValue)
    frame.write(offset)
    return frame
  }

  /// What stands before the data of an append: header, handle and flag.
  package static let appendPrefix = Header.length + 9

  /// Starts an append request in place, as `writeFrame` does.
  package static func appendFrame(_ handle: Handle, more: Bool, count: Int) -> Frame {
    let frame = Frame(capacity: appendPrefix + count)
    Header(kind: .request, operation: Operation.append.rawValue).write(to: frame)
    frame.write(handle.rawValue)
    frame.write(more ? 1 : 0 as UInt8)
    return frame
  }

  private func writeBody(to frame: Frame) {
    switch self {
    case .lookup(let target): target.write(to: frame)
    case .setattr(let target, let changes):
      target.write(to: frame)
      changes.write(to: frame)
    case .list(let handle, let place, let cookie):
      frame.write(handle.rawValue)
      place.write(to: frame)
      frame.write(cookie)
    case .readlink(let path), .statfs(let path): frame.write(string: path.bytes)
    case .unlink(let place), .rmdir(let place): place.write(to: frame)
    case .symlink(let place, let target):
      place.write(to: frame)
      frame.write(string: target)
    case .link(let existing, let place):
      existing.write(to: frame)
      place.write(to: frame)
    case .mkdir(let place, let mode, let umask), .mknod(let place, let mode, let umask):
      place.write(to: frame)
      frame.write(mode)
      frame.write(umask)
    case .rename(let place, let to, let mode):
      place.write(to: frame)
      to.write(to: frame)
      frame.write(mode.rawValue)
    case .create(let handle, let place, let options, let mode, let umask):
      frame.write(handle.rawValue)
      place.write(to: frame)
      frame.write(options.rawValue)
      frame.write(mode)
      frame.write(umask)
    case .open(let handle, let target, let options, let prefetch):
      frame.write(handle.rawValue)
      target.write(to: frame)
      frame.write(options.rawValue)
      frame.write(prefetch)
    case .reopen(let handle, let path, let options, let identity):
      frame.write(handle.rawValue)
      frame.write(string: path.bytes)
      frame.write(options.rawValue)
      identity.write(to: frame)
    case .read(let handle, let offset, let count):
      frame.write(handle.rawValue)
      frame.write(offset)
      frame.write(count)
    case .write(let handle, let offset, let data):
      frame.write(handle.rawValue)
      frame.write(offset)
      frame.write(data.bytes)
    case .fsync(let handle, let dataOnly):
      frame.write(handle.rawValue)
      frame.write(dataOnly ? 1 : 0 as UInt8)
    case .append(let handle, let more, let data):
      frame.write(handle.rawValue)
      frame.write(more ? 1 : 0 as UInt8)
      frame.write(data.bytes)
    case .flush(let handle): frame.write(handle.rawValue)
    case .close(let handle, let accessed):
      frame.write(handle.rawValue)
      frame.write(accessed ? 1 : 0 as UInt8)
    case .seek(let handle, let offset, let target):
      frame.write(handle.rawValue)
      frame.write(offset)
      frame.write(target.rawValue)
    case .allocate(let handle, let offset, let count, let mode):
      frame.write(handle.rawValue)
      frame.write(offset)
      frame.write(count)
      frame.write(mode)
    }
  }

  /// Decodes the body of a request. `reader` stands behind the request's header.
  /// - Throws: `refused(ENOSYS)` for an operation that is not known.
  package init(operation: UInt8, _ reader: inout Reader) throws(RequestError) {
    guard let operation = Operation(rawValue: operation) else { throw .refused(.noFunction) }
    do {
      self = try Request.body(of: operation, &reader)
      try reader.end()
    } catch let error as MalformedMessage {
      throw .malformed(error)
    } catch let error as Errno {
      throw .refused(error)
    } catch {
      preconditionFailure("the codec throws nothing else")
    }
  }

  private static func body(of operation: Operation, _ reader: inout Reader) throws -> Request {
    switch operation {
    case .lookup: return .lookup(try Target(&reader))
    case .setattr: return .setattr(try Target(&reader), try AttributeChanges(&reader))
    case .list:
      return .list(try Handle(&reader), try Place(&reader), cookie: try reader.integer())
    case .readlink: return .readlink(try Path(&reader))
    case .symlink:
      let place = try Place(&reader)
      let target = try reader.string()
      guard !target.isEmpty else { throw Errno.noSuchFileOrDirectory }
      guard target.count <= Limits.Wire.linkTarget else { throw Errno.fileNameTooLong }
      guard !target.contains(0) else { throw Errno.invalidArgument }
      return .symlink(place, target: Array(target))
    case .link: return .link(existing: try Target(&reader), try Place(&reader))
    case .mkdir:
      return .mkdir(try Place(&reader), mode: try permissions(&reader), umask: try permissions(&reader))
    case .mknod:
      let place = try Place(&reader)
      let mode: UInt32 = try reader.integer()
      let type = FileType(mode: mode)
      guard type == .fifo || type == .regular || type == .socket else { throw Errno.notPermitted }
      return .mknod(place, mode: mode & 0o171777, umask: try permissions(&reader))
    case .unlink: return .unlink(try Place(&reader))
    case .rmdir: return .rmdir(try Place(&reader))
    case .rename:
      let (from, to) = (try Place(&reader), try Place(&reader))
      guard let mode = RenameMode(rawValue: try reader.integer()) else { throw Errno.invalidArgument }
      return .rename(from, to: to, mode)
    case .create:
      return .create(
        try Handle(&reader), try Place(&reader), try OpenOptions(&reader), mode: try permissions(&reader),
        umask: try permissions(&reader))
    case .open:
      let (handle, target) = (try Handle(&reader), try Target(&reader))
      let options = try OpenOptions(&reader)
      let prefetch: UInt32 = try reader.integer()
      guard prefetch <= Limits.Wire.read else { throw Errno.invalidArgument }
      return .open(handle, target, options, prefetch: prefetch)
    case .read:
      let (handle, offset) = (try Handle(&reader), try Request.offset(&reader))
      let count: UInt32 = try reader.integer()
      guard count <= Limits.Wire.read else { throw Errno.invalidArgument }
      return .read(handle, offset: offset, count: count)
    case .write:
      let (handle, offset) = (try Handle(&reader), try Request.offset(&reader))
      let data = reader.rest()
      guard data.count <= Limits.Wire.data else { throw Errno.invalidArgument }
      return .write(handle, offset: offset, data)
    case .fsync: return .fsync(try Handle(&reader), dataOnly: try reader.integer(UInt8.self) != 0)
    case .append:
      let (handle, more) = (try Handle(&reader), try reader.integer(UInt8.self) != 0)
      let data = reader.rest()
      guard data.count <= Limits.Wire.data else { throw Errno.invalidArgument }
      return .append(handle, more: more, data)
    case .flush: return .flush(try Handle(&reader))
    case .reopen:
      return .reopen(
        try Handle(&reader), try Path(&reader), try OpenOptions(&reader), try FileIdentity(&reader))
    case .close: return .close(try Handle(&reader), accessed: try reader.integer(UInt8.self) != 0)
    case .statfs: return .statfs(try Path(&reader))
    case .seek:
      let (handle, offset) = (try Handle(&reader), try Request.offset(&reader))
      guard let target = SeekTarget(rawValue: try reader.integer()) else { throw Errno.invalidArgument }
      return .seek(handle, offset: offset, target)
    case .allocate:
      let (handle, offset, count) = (try Handle(&reader), try Request.offset(&reader), try Request.offset(&reader))
      return .allocate(handle, offset: offset, count: count, mode: try reader.integer())
    }
  }

  /// An offset, count or size of a file: in range, so that the sum of two cannot overflow.
  fileprivate static func offset(_ reader: inout Reader) throws -> Int64 {
    let value: Int64 = try reader.integer()
    guard value >= 0 else { throw Errno.invalidArgument }
    guard value <= Limits.Wire.fileSize else { throw Errno.fileTooLarge }
    return value
  }

  /// Permission bits; setuid and setgid are stripped, whatever else is set is ignored.
  fileprivate static func permissions(_ reader: inout Reader) throws -> UInt32 {
    try reader.integer(UInt32.self) & 0o1777
  }
}

extension Frame {
  /// Of an append (`Request.appendFrame`): no part follows this one.
  package func endAppend() {
    precondition(count >= Header.length + 9)
    (base + Header.length + 8).storeBytes(of: 0, as: UInt8.self)
  }
}

extension Handle {
  init(_ reader: inout Reader) throws(MalformedMessage) { self.init(rawValue: try reader.integer()) }
}

extension OpenOptions {
  init(_ reader: inout Reader) throws(MalformedMessage) { self.init(rawValue: try reader.integer()) }
}

extension Path {
  init(_ reader: inout Reader) throws { try self.init(try reader.string()) }
}

extension Request {
  /// Whether a request, as `encoded` makes it, changes what has a name and speaks of nothing that is open, so that it means
  /// the same to a program of the peer that has just been started.
  package static func speaksOfNames(_ frame: Frame) -> Bool {
    guard frame.count > Header.length else { return false }
    var target = Header.length
    switch Operation(rawValue: frame.bytes[1]) {
    case .symlink, .mkdir, .mknod, .unlink, .rmdir, .rename, .create: return true
    case .setattr, .link: break
    // Behind the handle that is to be given to what is opened.
    case .open: target += 8
    default: return false
    }
    return frame.count > target && frame.bytes[target] == Target.pathKind
  }
}

extension Target {
  /// What a target begins with.
  fileprivate static let pathKind: UInt8 = 0
  fileprivate static let handleKind: UInt8 = 1

  fileprivate var room: Int {
    switch self {
    case .path(let place): 1 + place.room
    case .handle: 9
    }
  }

  fileprivate init(_ reader: inout Reader) throws {
    switch try reader.integer(UInt8.self) {
    case Target.pathKind: self = .path(try Place(&reader))
    case Target.handleKind: self = .handle(try Handle(&reader))
    default: throw MalformedMessage("unknown kind of target")
    }
  }

  fileprivate func write(to frame: Frame) {
    switch self {
    case .path(let place):
      frame.write(Target.pathKind)
      place.write(to: frame)
    case .handle(let handle):
      frame.write(Target.handleKind)
      frame.write(handle.rawValue)
    }
  }
}

/// ```
///  0       4      12          24           36
/// +-------+------+-----------+------------+
/// | flags | size | accessed  | modified   |  then mode, 4 bytes
/// +-------+------+-----------+------------+
/// ```
extension AttributeChanges {
  private enum Flag {
    static let mode: UInt32 = 1
    static let size: UInt32 = 2
    static let accessed: UInt32 = 4
    static let accessedNow: UInt32 = 8
    static let modified: UInt32 = 16
    static let modifiedNow: UInt32 = 32
  }

  fileprivate init(_ reader: inout Reader) throws {
    let flags: UInt32 = try reader.integer()
    let size: Int64 = try reader.integer()
    let (accessed, modified) = (try Timestamp(&reader), try Timestamp(&reader))
    let mode: UInt32 = try reader.integer()
    self.init()
    if flags & Flag.mode != 0 { self.mode = mode & 0o1777 }
    if flags & Flag.size != 0 {
      guard size >= 0 else { throw Errno.invalidArgument }
      guard size <= Limits.Wire.fileSize else { throw Errno.fileTooLarge }
      self.size = size
    }
    if flags & Flag.accessedNow != 0 {
      self.accessed = .now
    } else if flags & Flag.accessed != 0 {
      self.accessed = .set(accessed)
    }
    if flags & Flag.modifiedNow != 0 {
      self.modified = .now
    } else if flags & Flag.modified != 0 {
      self.modified = .set(modified)
    }
  }

  fileprivate func write(to frame: Frame) {
    var flags: UInt32 = 0
    func bits(_ change: TimeChange?, _ set: UInt32, _ now: UInt32) -> Timestamp {
      switch change {
      case nil: return Timestamp(seconds: 0, nanoseconds: 0)
      case .now:
        flags |= now
        return Timestamp(seconds: 0, nanoseconds: 0)
      case .set(let time):
        flags |= set
        return time
      }
    }
    if mode != nil { flags |= Flag.mode }
    if size != nil { flags |= Flag.size }
    let times = (bits(accessed, Flag.accessed, Flag.accessedNow), bits(modified, Flag.modified, Flag.modifiedNow))
    frame.write(flags)
    frame.write(size ?? 0)
    times.0.write(to: frame)
    times.1.write(to: frame)
    frame.write(mode ?? 0)
  }
}

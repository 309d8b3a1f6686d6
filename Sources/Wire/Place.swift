import P2PFSCore

/// Where something is, and which file or directory the client means by that.
///
/// A path leads to whatever has the name now. A program that holds a directory or a file open means that one, also when
/// the exporter's user has moved it away and another one has its name. So a request says what it expects to find, and is
/// answered ESTALE, with nothing done, where something else is.
package struct Place: Sendable, Hashable {
  /// Where it is.
  package var path: Path
  /// The directory that has to hold the name at the end of the path; nil: whichever does.
  package var directory: FileIdentity?
  /// The file that has to be there; nil: whichever is, or none.
  package var file: FileIdentity?

  /// A place; with nothing else than a path, whatever is there.
  package init(_ path: Path, in directory: FileIdentity? = nil, file: FileIdentity? = nil) {
    self.path = path
    self.directory = directory
    self.file = file
  }
}

/// ```
///  0        2          2 + n   3 + n
/// +--------+----------+-------+------------------+-------------+
/// | length | path     | flags | [directory]      | [file]      |   flags: 1 directory, 2 file
/// +--------+----------+-------+------------------+-------------+
/// ```
extension Place {
  private static let hasDirectory: UInt8 = 1
  private static let hasFile: UInt8 = 2

  /// Length on the wire in bytes, at most.
  var room: Int { 2 + path.bytes.count + 1 + 2 * FileIdentity.length }

  /// - Throws: `MalformedMessage`, also for flags that are not known; `Errno` for a path that is refused.
  init(_ reader: inout Reader) throws {
    path = try Path(&reader)
    let flags: UInt8 = try reader.integer()
    guard flags & ~(Place.hasDirectory | Place.hasFile) == 0 else { throw MalformedMessage("unknown flags of a place") }
    directory = flags & Place.hasDirectory == 0 ? nil : try FileIdentity(&reader)
    file = flags & Place.hasFile == 0 ? nil : try FileIdentity(&reader)
  }

  func write(to frame: Frame) {
    frame.write(string: path.bytes)
    frame.write((directory == nil ? 0 : Place.hasDirectory) | (file == nil ? 0 : Place.hasFile))
    directory?.write(to: frame)
    file?.write(to: frame)
  }
}

/// Requests that take whatever is at a path.
extension Request {
  /// Opens the file at a path.
  package static func open(_ handle: Handle, _ path: Path, _ options: OpenOptions, prefetch: UInt32) -> Request {
    .open(handle, .path(path), options, prefetch: prefetch)
  }

  /// Opens a file at a path, which it creates if there is none.
  package static func create(
    _ handle: Handle, _ path: Path, _ options: OpenOptions, mode: UInt32, umask: UInt32 = 0
  ) -> Request { .create(handle, Place(path), options, mode: mode, umask: umask) }

  /// A page of the directory at a path.
  package static func list(_ handle: Handle, _ path: Path, cookie: UInt64) -> Request {
    .list(handle, Place(path), cookie: cookie)
  }

  /// Makes a symbolic link.
  package static func symlink(_ path: Path, target: [UInt8]) -> Request { .symlink(Place(path), target: target) }

  /// Gives a file a further name.
  package static func link(existing: Target, _ path: Path) -> Request { .link(existing: existing, Place(path)) }

  /// Makes a directory.
  package static func mkdir(_ path: Path, mode: UInt32, umask: UInt32 = 0) -> Request {
    .mkdir(Place(path), mode: mode, umask: umask)
  }

  /// Makes a FIFO, a socket or an empty regular file.
  package static func mknod(_ path: Path, mode: UInt32, umask: UInt32 = 0) -> Request {
    .mknod(Place(path), mode: mode, umask: umask)
  }

  /// Removes a name.
  package static func unlink(_ path: Path) -> Request { .unlink(Place(path)) }

  /// Removes a directory.
  package static func rmdir(_ path: Path) -> Request { .rmdir(Place(path)) }

  /// Moves a name.
  package static func rename(_ path: Path, to: Path, _ mode: RenameMode) -> Request {
    .rename(Place(path), to: Place(to), mode)
  }
}

extension Target {
  /// Whatever is at a path.
  package static func path(_ path: Path) -> Target { .path(Place(path)) }
}

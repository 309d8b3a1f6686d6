import CP2PFSFuse3
import Glibc
import Synchronization
import SystemPackage

/// What libfuse calls: finds the filesystem by the session's user data and forwards to it.
///
/// The session's workers hold the reference that keeps this alive while callbacks can come.
final class Callbacks: Sendable {
  let filesystem: any FUSEFilesystem
  let maxRead: UInt32?
  /// Whether the answer to FUSE_INIT, the first of all, has gone.
  let hasAnswered = Atomic(false)
  // Set once, before the first worker starts, and only read from then on. The workers hold the reference.
  nonisolated(unsafe) var connection: Unmanaged<FUSEConnection>?

  init(filesystem: any FUSEFilesystem, maxRead: UInt32?) {
    self.filesystem = filesystem
    self.maxRead = maxRead
  }

  static func of(_ request: OpaquePointer) -> Callbacks {
    Unmanaged<Callbacks>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
  }

  /// The filesystem that answers `pointer`, and the connection that keeps the request valid.
  static func take(_ pointer: OpaquePointer?) -> (filesystem: any FUSEFilesystem, connection: FUSEConnection) {
    guard let pointer, let connection = of(pointer).connection else {
      preconditionFailure("a request comes from a running session")
    }
    return (of(pointer).filesystem, connection.takeUnretainedValue())
  }

  static func bytes(_ string: UnsafePointer<CChar>?) -> UnsafeRawBufferPointer {
    guard let string else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: string, count: strlen(string))
  }

  /// The protocol's start: what the kernel may do.
  func negotiate(_ connection: inout fuse_conn_info) {
    let wanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS
      | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_DONT_MASK
    connection.want = connection.capable & UInt32(wanted)
    // Must agree with the mount option, or libfuse ends the session.
    if let maxRead { connection.max_read = maxRead }
    connection.max_background = 64
    connection.congestion_threshold = 48
  }

  /// The table that libfuse copies when a session is made.
  static func operations() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    table.`init` = { data, connection in
      guard let data, let connection else { return }
      Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue().negotiate(&connection.pointee)
    }
    addNames(&table)
    addFiles(&table)
    addDirectories(&table)
    return table
  }

  private static func addNames(_ table: inout fuse_lowlevel_ops) {
    table.lookup = { request, parent, name in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.lookup(FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name))
    }
    table.forget = { request, node, count in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.forget(node, count: count)
      FUSERequest(request!, connection).replyNone()
    }
    table.forget_multi = { request, count, list in
      let (filesystem, connection) = Callbacks.take(request)
      for entry in UnsafeBufferPointer(start: list, count: count) {
        filesystem.forget(entry.ino, count: entry.nlookup)
      }
      FUSERequest(request!, connection).replyNone()
    }
    table.mknod = { request, parent, name, mode, _ in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.mknod(FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name), mode: mode)
    }
    table.mkdir = { request, parent, name, mode in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.mkdir(FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name), mode: mode)
    }
    table.unlink = { request, parent, name in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.unlink(FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name))
    }
    table.rmdir = { request, parent, name in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.rmdir(FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name))
    }
    table.symlink = { request, target, parent, name in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.symlink(
        FUSERequest(request!, connection), target: Callbacks.bytes(target), parent: parent, name: Callbacks.bytes(name))
    }
    table.rename = { request, parent, name, newParent, newName, flags in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.rename(
        FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name), newParent: newParent,
        newName: Callbacks.bytes(newName), flags: flags)
    }
    table.link = { request, node, newParent, newName in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.link(
        FUSERequest(request!, connection), node: node, newParent: newParent, newName: Callbacks.bytes(newName))
    }
    table.readlink = { request, node in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.readlink(FUSERequest(request!, connection), node: node)
    }
    table.access = { request, node, mask in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.access(FUSERequest(request!, connection), node: node, mask: mask)
    }
    table.statfs = { request, node in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.statfs(FUSERequest(request!, connection), node: node)
    }
  }

  private static func addFiles(_ table: inout fuse_lowlevel_ops) {
    table.getattr = { request, node, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.getattr(FUSERequest(request!, connection), node: node, handle: info?.pointee.fh)
    }
    table.setattr = { request, node, attributes, changes, info in
      let (filesystem, connection) = Callbacks.take(request)
      guard let attributes else { return }
      filesystem.setattr(
        FUSERequest(request!, connection), node: node, attributes: FUSEAttributes(attributes.pointee),
        changes: FUSEAttributeChanges(rawValue: changes), handle: info?.pointee.fh)
    }
    table.create = { request, parent, name, mode, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.create(
        FUSERequest(request!, connection), parent: parent, name: Callbacks.bytes(name), mode: mode,
        flags: info?.pointee.flags ?? 0)
    }
    table.open = { request, node, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.open(FUSERequest(request!, connection), node: node, flags: info?.pointee.flags ?? 0)
    }
    table.read = { request, node, count, offset, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.read(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        count: count)
    }
    table.write = { request, node, data, count, offset, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.write(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        bytes: UnsafeRawBufferPointer(start: data, count: count), flags: info?.pointee.flags ?? 0,
        isWriteback: info?.pointee.writepage == 1)
    }
    table.flush = { request, node, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.flush(FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0)
    }
    table.release = { request, node, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.release(FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0)
    }
    table.fsync = { request, node, dataOnly, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.fsync(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, dataOnly: dataOnly != 0)
    }
    table.fallocate = { request, node, mode, offset, count, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.fallocate(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        count: Int64(count),
        mode: mode)
    }
    table.lseek = { request, node, offset, whence, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.lseek(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        whence: whence)
    }
    // Answered here, so that isatty(3) sees ENOTTY as on any other file.
    table.ioctl = { request, _, _, _, _, _, _, _, _ in
      let (_, connection) = Callbacks.take(request)
      FUSERequest(request!, connection).fail(Errno(rawValue: ENOTTY))
    }
  }

  private static func addDirectories(_ table: inout fuse_lowlevel_ops) {
    table.opendir = { request, node, _ in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.opendir(FUSERequest(request!, connection), node: node)
    }
    table.readdir = { request, node, count, offset, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.readdir(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        count: count,
        plus: false)
    }
    table.readdirplus = { request, node, count, offset, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.readdir(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, offset: Int64(offset),
        count: count,
        plus: true)
    }
    table.releasedir = { request, node, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.releasedir(FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0)
    }
    table.fsyncdir = { request, node, dataOnly, info in
      let (filesystem, connection) = Callbacks.take(request)
      filesystem.fsyncdir(
        FUSERequest(request!, connection), node: node, handle: info?.pointee.fh ?? 0, dataOnly: dataOnly != 0)
    }
  }
}

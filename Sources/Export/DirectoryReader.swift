import CP2PFSLinux
import P2PFSCore
import Glibc
import P2PFSSession
import SystemPackage
import P2PFSWire

/// A directory that a peer reads: getdents64(2), page by page.
///
/// Cookies are the kernel's offsets (`d_off`), so a listing that was closed for lack of room goes on where it
/// was, and a page that is asked for again is the same.
final class DirectoryReader: @unchecked Sendable {
  // The requests of one handle run one after the other; `used` is guarded by the table's lock.

  /// When it was used last, as a count of the table's uses.
  var used: UInt64 = 0
  /// The open directory.
  let file: ServedFile
  private let buffer: UnsafeMutableRawBufferPointer
  /// The part of the buffer that was not delivered yet.
  private var unread = 0..<0
  /// The cookie of the entry before `unread`.
  private var position: UInt64 = 0
  private let device: UInt64
  private let isRemote: Bool

  init(_ descriptor: consuming Descriptor) throws(Errno) {
    let file = ServedFile(descriptor, [])
    (device, isRemote) = try file.withDescriptor { file throws(Errno) in
      (
        try FileStatus(file, mask: FileStatus.type).device,
        DirectoryReader.remote.contains(p2pfs_filesystem_type(file))
      )
    }
    self.file = file
    buffer = .allocate(byteCount: Limits.Export.directoryBuffer, alignment: 8)
  }

  deinit { buffer.deallocate() }

  /// Filesystems whose attributes others can change: NFS, CIFS, SMB2, 9p, FUSE, Ceph, AFS, Lustre, GFS2, OCFS2
  /// (linux/magic.h). -1 is none that could be asked. Their answers are not taken from the kernel's cache.
  private static let remote: Set<Int64> = [
    -1, 0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x5346_414f, 0x0bd0_0bd0, 0x0116_1970,
    0x7461_636f,
  ]

  /// Sends pages from behind `cookie` on, up to `Limits.Wire.listing` bytes.
  /// `atEnd` is called before the last page of the directory goes out.
  /// - Throws: before the first page was sent; an error behind it ends the answer there, and comes again with
  ///   the next request.
  func send(from cookie: UInt64, in directory: ConfinedDirectory, to exchange: Exchange, atEnd: () -> Void)
    throws(Errno)
  {
    try seek(to: cookie)
    var sent = 0
    var page = Frame.listing(for: exchange.header)
    while true {
      let entry: (name: UnsafeRawBufferPointer, next: UInt64)?
      do {
        entry = try peek()
      } catch {
        guard sent > 0 || page.count > Header.length + Listing.prefixLength else { throw error }
        page.finishListing(next: position, isEnd: false, more: false)
        exchange.reply(page)
        return
      }
      guard let entry else {
        page.finishListing(next: position, isEnd: true, more: false)
        atEnd()
        exchange.reply(page)
        return
      }
      if page.capacity - page.count < Listing.room(name: entry.name.count) {
        sent += page.count
        let isFull = sent + Limits.Wire.message > Limits.Wire.listing
        page.finishListing(next: position, isEnd: false, more: !isFull)
        exchange.reply(page, isLast: isFull)
        if isFull { return }
        page = Frame.listing(for: exchange.header)
      }
      if let name = entry.name.baseAddress, (try? Path.check(component: entry.name)) != nil {
        // The kernel ends the name with a NUL.
        let attributes = try? file.withDescriptor { file throws(Errno) in
          try directory.attributes(
            of: name.assumingMemoryBound(to: CChar.self), in: file, on: device, isRemote: isRemote)
        }
        page.write(entry: entry.name, attributes: attributes)
      }
      consume(to: entry.next)
    }
  }

  private func seek(to cookie: UInt64) throws(Errno) {
    guard cookie != position else { return }
    guard let offset = off_t(exactly: cookie) else { throw .invalidArgument }
    try file.withDescriptor { file throws(Errno) in
      guard lseek(file, offset, SEEK_SET) >= 0 else { throw Errno(rawValue: errno) }
    }
    unread = 0..<0
    position = cookie
  }

  /// The next entry, `.` and `..` excepted; nil at the end. Its name is valid until the next call.
  private func peek() throws(Errno) -> (name: UnsafeRawBufferPointer, next: UInt64)? {
    if unread.isEmpty {
      let count = try file.withDescriptor { file throws(Errno) in
        let count = p2pfs_getdents64(file, buffer.baseAddress, buffer.count)
        guard count >= 0 else { throw Errno(rawValue: errno) }
        return count
      }
      guard count > 0 else { return nil }
      unread = 0..<count
    }
    // struct linux_dirent64: d_ino (8), d_off (8), d_reclen (2), d_type (1), d_name, a NUL.
    let entry = UnsafeRawBufferPointer(rebasing: buffer[unread])
    let length = Int(entry.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
    let name = UnsafeRawBufferPointer(rebasing: entry[19..<length])
    let count = name.firstIndex(of: 0) ?? name.count
    return (UnsafeRawBufferPointer(rebasing: name[..<count]), entry.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  private func consume(to next: UInt64) {
    let length = buffer.loadUnaligned(fromByteOffset: unread.lowerBound + 16, as: UInt16.self)
    unread = (unread.lowerBound + Int(length))..<unread.upperBound
    position = next
  }
}

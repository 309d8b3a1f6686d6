package import P2PFSCore

/// The name of an open file or directory. The client chooses it, so that it can speak of a file that the
/// exporter has not yet confirmed; it means nothing outside its session.
package struct Handle: RawRepresentable, Sendable, Hashable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What a request speaks of.
package enum Target: Sendable, Equatable {
  /// What is at this place now.
  case path(Place)
  /// The open file, wherever it is now, unlinked ones included.
  case handle(Handle)
}

/// How a file is opened.
package struct OpenOptions: OptionSet, Sendable, Equatable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  package static let read = OpenOptions(rawValue: 1)
  package static let write = OpenOptions(rawValue: 2)
  /// Some writes will be appends: `append` requests. A file that the exporter's system opens for appending only
  /// (chattr(1) +a) can be opened with this.
  package static let append = OpenOptions(rawValue: 4)
  package static let truncate = OpenOptions(rawValue: 8)
  /// `create` fails with EEXIST if there is something.
  package static let exclusive = OpenOptions(rawValue: 16)
}

/// How rename(2) treats what is at the new path: the flags of renameat2(2).
package enum RenameMode: UInt8, Sendable {
  case replace = 0
  case noReplace = 1
  case exchange = 2
}

/// One time of a `setattr`.
package enum TimeChange: Sendable, Equatable {
  /// The exporter's clock.
  case now
  case set(Timestamp)
}

/// What a `setattr` changes; nil leaves a thing as it is.
package struct AttributeChanges: Sendable, Equatable {
  /// Permission bits, 0 to 0o1777: setuid and setgid never travel.
  package var mode: UInt32?
  package var size: Int64?
  package var accessed: TimeChange?
  package var modified: TimeChange?

  /// Changes of the given values.
  package init(mode: UInt32? = nil, size: Int64? = nil, accessed: TimeChange? = nil, modified: TimeChange? = nil) {
    self.mode = mode
    self.size = size
    self.accessed = accessed
    self.modified = modified
  }
}

/// Where a seek(2) goes that asks about holes.
package enum SeekTarget: UInt8, Sendable {
  case data = 3
  case hole = 4
}

/// Numbers of the operations on the wire.
package enum Operation: UInt8, Sendable, CaseIterable {
  case lookup = 1
  case setattr = 2
  case list = 3
  case readlink = 4
  case symlink = 5
  case link = 6
  case mkdir = 7
  case mknod = 8
  case unlink = 9
  case rmdir = 10
  case rename = 11
  case create = 12
  case open = 13
  case read = 14
  case write = 15
  case fsync = 16
  case close = 17
  case statfs = 18
  case seek = 19
  case allocate = 20
  case append = 21
  case flush = 22
  case reopen = 23

  /// Whether doing it twice differs from doing it once. The exporter keeps the answers to these until they
  /// are acknowledged; the others are simply done again after a reconnection.
  package var changes: Bool {
    switch self {
    case .lookup, .list, .readlink, .read, .statfs, .seek: false
    // An fsync, a flush or a close tells of an error once: what was told must not be asked for again.
    case .setattr, .symlink, .link, .mkdir, .mknod, .unlink, .rmdir, .rename, .create, .open, .write, .close, .allocate,
      .fsync, .append, .flush, .reopen:
      true
    }
  }
}

/// A request as it stands on the wire behind the header. In parentheses, what the answer holds. What changes something
/// by a name, or finds it, speaks of a `Place`: it is answered ESTALE if that is not what the client means.
package enum Request: Sendable {
  /// (`Attributes`)
  case lookup(Target)
  /// (`Attributes`)
  case setattr(Target, AttributeChanges)
  /// A page of the directory behind cookie (0: from the start). `handle` names the listing: the first page
  /// opens it, the page that reaches the end closes it, as `close` does. (`Listing` pages)
  case list(Handle, Place, cookie: UInt64)
  /// (the target's bytes)
  case readlink(Path)
  /// Makes a symbolic link to `target`. (`Attributes`)
  case symlink(Place, target: [UInt8])
  /// Gives the file `existing` the further name. (`Attributes`)
  case link(existing: Target, Place)
  /// `mode` is that of the program, `umask` what it is masked with unless the directory has a default ACL
  /// (umask(2)). The same for `mknod` and `create`. (`Attributes`)
  case mkdir(Place, mode: UInt32, umask: UInt32 = 0)
  /// A FIFO, a socket or an empty regular file. (`Attributes`)
  case mknod(Place, mode: UInt32, umask: UInt32 = 0)
  case unlink(Place)
  case rmdir(Place)
  case rename(Place, to: Place, RenameMode)
  /// Opens a file, which it creates if there is none. (`Attributes`)
  case create(Handle, Place, OpenOptions, mode: UInt32, umask: UInt32 = 0)
  /// Opens the file at a path, or one that is open under another handle once more, even if it has no name any more.
  /// (`Attributes`, then up to `prefetch` bytes of contents from the start as the answers to a `read`)
  case open(Handle, Target, OpenOptions, prefetch: UInt32)
  /// (pieces: offset, the state of the file's contents before they were read, then bytes; fewer than asked for at
  /// the end of the file)
  case read(Handle, offset: Int64, count: UInt32)
  /// (nothing; all of it was written)
  case write(Handle, offset: Int64, FrameSlice)
  /// A part of what is to be added to the end of the file, wherever that is when the exporter writes. While
  /// `more` follows the exporter gathers the parts, up to `Limits.Wire.append` bytes; the last one writes all of
  /// them by one write(2). None is answered before that, and all with the same.
  /// (`Appended`; fewer bytes than were asked for only if the next one failed)
  case append(Handle, more: Bool, FrameSlice)
  /// Closes what the exporter has open of the file for writing, which is opened again for the next write:
  /// a program that has called close(2) finds the file as closed at the exporter. (nothing, or close(2)'s error)
  case flush(Handle)
  /// Opens a file again that was open under this handle before the exporter was started again, if what is at the
  /// path is the same file; else ESTALE. Nothing is truncated or made. (`Attributes`)
  case reopen(Handle, Path, OpenOptions, FileIdentity)
  /// Returns when the disk has it. Of a file or a directory.
  case fsync(Handle, dataOnly: Bool)
  /// `accessed` says that a program has read it, which the access time is to show; reading ahead does not count.
  case close(Handle, accessed: Bool = false)
  /// (`FilesystemStatistics`)
  case statfs(Path)
  /// lseek(2) with SEEK_DATA or SEEK_HOLE. (the offset, 64 bits)
  case seek(Handle, offset: Int64, SeekTarget)
  /// fallocate(2) with these mode bits: keep size 1, punch hole 2, zero range 16.
  case allocate(Handle, offset: Int64, count: Int64, mode: UInt32)

  /// The operation.
  package var operation: Operation {
    switch self {
    case .lookup: .lookup
    case .setattr: .setattr
    case .list: .list
    case .readlink: .readlink
    case .symlink: .symlink
    case .link: .link
    case .mkdir: .mkdir
    case .mknod: .mknod
    case .unlink: .unlink
    case .rmdir: .rmdir
    case .rename: .rename
    case .create: .create
    case .open: .open
    case .read: .read
    case .write: .write
    case .fsync: .fsync
    case .close: .close
    case .statfs: .statfs
    case .seek: .seek
    case .allocate: .allocate
    case .append: .append
    case .flush: .flush
    case .reopen: .reopen
    }
  }
}

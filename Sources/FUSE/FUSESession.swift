import CP2PFSFuse3
import P2PFSCore
import Glibc
import Synchronization
import SystemPackage

/// A mounted filesystem: the mount, and the threads that read the kernel's requests.
///
/// It installs no signal handlers. Its workers block all signals.
package final class FUSESession: Sendable {
  /// How a filesystem is mounted.
  package struct Options: Sendable {
    /// Options for fuse(8) and mount(8), such as `fsname=…` or `nodev`.
    package var mount: [String]
    /// The mount option `max_read`, in bytes; nil for the kernel's own limit.
    package var maxRead: UInt32?
    /// The kernel follows no symbolic link of the mount (mount(2), MS_NOSYMFOLLOW, Linux 5.10). Only root can have this.
    package var followsNoSymlinks: Bool
    /// Threads that read requests.
    package var workers: Int

    /// Options of the given values.
    package init(mount: [String], maxRead: UInt32? = nil, followsNoSymlinks: Bool = false, workers: Int = 2) {
      self.mount = mount
      self.maxRead = maxRead
      self.followsNoSymlinks = followsNoSymlinks
      self.workers = workers
    }
  }

  /// Where it is mounted: an absolute path without links.
  package let mountpoint: String
  /// The mount as the kernel lists it; nil if /proc is hidden.
  private let mounted: MountInfo.Entry?

  private let connection: FUSEConnection
  private let callbacks: Callbacks
  // Readable once the workers are to end.
  private let stop: CInt
  private let threads = Mutex<[Worker]>([])
  private let running: Atomic<Int>
  private let notifications = Mailbox<Notification>()

  /// Mounts `filesystem` on `mountpoint` and starts to serve it.
  package init(_ filesystem: any FUSEFilesystem, on mountpoint: String, _ options: Options) throws(MountError) {
    self.mountpoint = try FUSESession.check(mountpoint, options)
    callbacks = Callbacks(filesystem: filesystem, maxRead: options.maxRead)
    connection = try FUSESession.mount(self.mountpoint, options, callbacks)
    if options.followsNoSymlinks { try FUSESession.forbidSymlinks(on: self.mountpoint, options) }
    callbacks.connection = Unmanaged.passUnretained(connection)
    mounted = MountInfo().visible(at: self.mountpoint)
    stop = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
    running = Atomic(options.workers)
    start(options.workers)
  }

  deinit { close(stop) }

  /// Unmounts lazily, if what is mounted there is still this, and ends the workers. What the kernel still waits
  /// for ends with an error. Not from a worker. Doing it again does nothing.
  package func unmount() {
    if let mounted, MountInfo().visible(at: mountpoint)?.device == mounted.device {
      FUSESession.detach(mountpoint)
      // Or the notifying thread could wait for a page that a read without an answer holds.
      abort()
    }
    finish()
  }

  /// Waits until the workers and the notifying thread have ended, after `ended()` of the filesystem or by itself.
  package func finish() {
    var one: UInt64 = 1
    _ = write(stop, &one, 8)
    notifications.close()
    let ended = threads.withLock { threads in
      defer { threads = [] }
      return threads
    }
    for thread in ended { thread.join() }
  }

  /// Cuts the kernel off: every operation on the mount, waiting or new, ends with an error.
  package func abort() {
    guard let mounted else { return }
    let file = open("/sys/fs/fuse/connections/\(mounted.minor)/abort", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = write(file, "1", 1)
    close(file)
  }

  private func start(_ workers: Int) {
    let descriptor = connection.descriptor
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    threads.withLock { threads in
      for number in 0..<workers {
        threads.append(Worker("fuse-\(number)") { [self] in serve() })
      }
      threads.append(
        Worker("fuse-notify") { [notifications, connection] in
          while let batch = notifications.collect() {
            for notification in batch { notification.deliver(to: connection) }
          }
        })
    }
  }

  /// A worker: reads requests until the filesystem is unmounted or stopped.
  ///
  /// The descriptor does not block; each worker waits in an epoll of its own, exclusively, so that one request
  /// wakes one worker, and `stop` wakes all.
  private func serve() {
    let poll = epoll_create1(CInt(EPOLL_CLOEXEC))
    defer { close(poll) }
    let descriptor = connection.descriptor
    var interest = epoll_event(
      events: EPOLLIN.rawValue | UInt32(1 << 28), data: epoll_data(fd: descriptor))  // EPOLLEXCLUSIVE
    epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &interest)
    var ending = epoll_event(events: EPOLLIN.rawValue, data: epoll_data(fd: stop))
    epoll_ctl(poll, EPOLL_CTL_ADD, stop, &ending)
    var buffer = fuse_buf()
    defer { free(buffer.mem) }
    while fuse_session_exited(connection.session) == 0 {
      let count = fuse_session_receive_buf(connection.session, &buffer)
      if count > 0 {
        fuse_session_process_buf(connection.session, &buffer)
      } else if count == -EAGAIN {
        var event = epoll_event()
        if epoll_wait(poll, &event, 1, -1) == 1, event.data.fd == stop { break }
      } else if count != -EINTR {
        break
      }
    }
    if running.subtract(1, ordering: .sequentiallyConsistent).newValue == 0 { callbacks.filesystem.ended() }
  }

  // MARK: Notifications

  private enum Notification: Sendable {
    case attributes(UInt64)
    case contents(UInt64)
    case entry(parent: UInt64, name: [UInt8])

    func deliver(to connection: FUSEConnection) {
      switch self {
      case .attributes(let node): fuse_lowlevel_notify_inval_inode(connection.session, node, -1, 0)
      case .contents(let node): fuse_lowlevel_notify_inval_inode(connection.session, node, 0, 0)
      case .entry(let parent, let name):
        let terminated = name.map(CChar.init(bitPattern:)) + [0]
        fuse_lowlevel_notify_inval_entry(connection.session, parent, terminated, name.count)
      }
    }
  }

  // Notifications have a thread of their own: the kernel may make them wait for a lock that is held by an operation
  // which waits for an answer of ours. So nothing can be told when one has arrived, and no answer can wait for one.

  /// Has the kernel forget the attributes of `node`, soon.
  package func invalidate(attributesOf node: UInt64) { notifications.post(.attributes(node)) }

  /// Has the kernel write what programs have changed of `node` through mappings, and forget its attributes and cached
  /// pages, soon.
  package func invalidate(contentsOf node: UInt64) { notifications.post(.contents(node)) }

  /// Has the kernel forget what it knows of the name in the directory `parent`, soon.
  package func invalidate(entry name: [UInt8], in parent: UInt64) {
    notifications.post(.entry(parent: parent, name: name))
  }
}

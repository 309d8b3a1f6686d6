import CP2PFSFuse3
import P2PFSCore
import Glibc
import Synchronization
import SystemPackage

extension FUSESession {
  /// What libfuse and fusermount3 last complained about, for the error message.
  private static let complaint = Mutex<String>("")

  /// Refuses what cannot work, with a reason, before libfuse fails without one.
  /// - Returns: the mountpoint as an absolute path without links.
  static func check(_ mountpoint: String, _ options: Options) throws(MountError) -> String {
    var status = stat()
    guard mountpoint.withPath({ stat($0, &status) }) == 0 else {
      let error = Errno(rawValue: errno)
      if error.rawValue == ENOTCONN {
        throw MountError(
          .stale,
          "\(mountpoint) belongs to a mount whose program has died. Clear it with: p2pfs umount \(mountpoint)")
      }
      throw MountError(.mountpoint(error), "cannot mount on \(mountpoint): \(error)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw MountError(.mountpoint(.notDirectory), "cannot mount on \(mountpoint): it is not a directory")
    }
    guard let resolved = mountpoint.withPath({ realpath($0, nil) }) else {
      let error = Errno(rawValue: errno)
      throw MountError(.mountpoint(error), "cannot mount on \(mountpoint): \(error)")
    }
    defer { free(resolved) }
    guard access("/dev/fuse", F_OK) == 0 else {
      throw MountError(
        .noDevice, "there is no /dev/fuse: load the kernel's module (modprobe fuse), or give it to the container")
    }
    if geteuid() != 0 { try checkUser(mountpoint, status, options) }
    return String(path: resolved)
  }

  /// What applies to everyone but root.
  private static func checkUser(_ mountpoint: String, _ status: stat, _ options: Options) throws(MountError) {
    guard access("/dev/fuse", R_OK | W_OK) == 0 else {
      throw MountError(
        .noDevice, "you may not use /dev/fuse: have root say chmod 666 /dev/fuse, which is how udev sets it up")
    }
    guard fusermount() != nil else {
      throw MountError(
        .noFusermount, "fusermount3 is missing, without which only root can mount: install the package fuse3")
    }
    if options.mount.contains("allow_other") {
      let allowed = lines(of: "/etc/fuse.conf").contains {
        $0.split(whereSeparator: { $0 == " " || $0 == "\t" }).elementsEqual(["user_allow_other"])
      }
      guard allowed else {
        throw MountError(
          .allowOther, "allow_other is for root, unless /etc/fuse.conf has a line with user_allow_other")
      }
    }
    guard status.st_uid == geteuid() || mountpoint.withPath({ access($0, W_OK) }) == 0 else {
      throw MountError(
        .mountpoint(.permissionDenied), "cannot mount on \(mountpoint): you may not write to that directory")
    }
  }

  /// Mounts, and makes the session that serves the mount.
  ///
  /// libfuse's session would unmount whatever is at the mountpoint when it ends, and close a descriptor that
  /// other threads may still reply to. So one session mounts, and another, which knows only the descriptor,
  /// serves: it is freed when the last request is answered.
  static func mount(_ mountpoint: String, _ options: Options, _ callbacks: Callbacks) throws(MountError)
    -> FUSEConnection
  {
    complaint.withLock { $0 = "" }
    fuse_set_log_func { level, format, arguments in
      guard level.rawValue <= FUSE_LOG_WARNING.rawValue, let format, let arguments else { return }
      var line = [CChar](repeating: 0, count: 512)
      vsnprintf(&line, line.count, format, arguments)
      let text = String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      FUSESession.complaint.withLock { $0 = text }
    }
    guard let mounting = session(options, callbacks) else { throw refused("the mount options are not understood") }
    guard mountpoint.withPath({ fuse_session_mount(mounting, $0) }) == 0 else {
      let error = Errno(rawValue: errno)
      fuse_session_destroy(mounting)
      if error == .permissionDenied || error == .notPermitted || geteuid() != 0 {
        throw MountError(
          .notPermitted, "not allowed to mount on \(mountpoint)\(reason(or: "\(error)")); root may, or fusermount3")
      }
      throw refused("mount on \(mountpoint) failed: \(error)")
    }
    let descriptor = fcntl(fuse_session_fd(mounting), F_DUPFD_CLOEXEC, 0)
    fuse_session_destroy(mounting)
    guard descriptor >= 0, let serving = session(options, callbacks) else {
      detach(mountpoint)
      throw refused("no descriptor for the mount on \(mountpoint)")
    }
    var transport = FUSETransport.functions
    guard fuse_session_custom_io(serving, &transport, descriptor) == 0 else {
      fuse_session_destroy(serving)
      close(descriptor)
      detach(mountpoint)
      throw refused("libfuse cannot serve the mount on \(mountpoint)")
    }
    return FUSEConnection(adopting: serving)
  }

  /// Has the kernel follow no symbolic link of the mount. libfuse 3.14 does not know the option, so the mount is
  /// changed, with all flags that it has.
  static func forbidSymlinks(on mountpoint: String, _ options: Options) throws(MountError) {
    var flags = UInt(MS_REMOUNT) | UInt(MS_BIND) | 256  // MS_NOSYMFOLLOW
    let words: [String: UInt] = [
      "nosuid": 2, "nodev": 4, "noexec": 8, "ro": 1, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21,
      "strictatime": 1 << 24,
    ]
    for word in options.mount { flags |= words[word] ?? 0 }
    if Glibc.mount(nil, mountpoint, nil, flags, nil) == 0 { return }
    let error = Errno(rawValue: errno)
    detach(mountpoint)
    throw MountError(
      .refused,
      error == .notPermitted
        ? "nosymfollow is for root: fusermount3 does not know it"
        : "nosymfollow: \(error); it needs Linux 5.10 or later")
  }

  private static func session(_ options: Options, _ callbacks: Callbacks) -> OpaquePointer? {
    var words = ["p2pfs"]
    var mount = options.mount
    if let maxRead = options.maxRead { mount.append("max_read=\(maxRead)") }
    if !mount.isEmpty { words += ["-o", mount.joined(separator: ",")] }
    var pointers = words.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    var table = Callbacks.operations()
    return pointers.withUnsafeMutableBufferPointer { buffer in
      var arguments = fuse_args(argc: CInt(words.count), argv: buffer.baseAddress, allocated: 0)
      defer { fuse_opt_free_args(&arguments) }
      return fuse_session_new(
        &arguments, &table, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(callbacks).toOpaque())
    }
  }

  private static func reason(or other: String) -> String {
    let said = complaint.withLock { $0 }
    return ": " + (said.isEmpty ? other : said)
  }

  private static func refused(_ what: String) -> MountError {
    let said = complaint.withLock { $0 }
    return MountError(.refused, said.isEmpty ? what : "\(what) (\(said))")
  }

  /// Takes the mount away from the tree, now, even if it is busy: umount2(2), or fusermount3(1) for users.
  static func detach(_ mountpoint: String) {
    if mountpoint.withPath({ umount2($0, CInt(MNT_DETACH)) }) == 0 { return }
    guard let program = fusermount() else { return }
    let command: [String] = [program, "-u", "-q", "-z", "--", mountpoint]
    var words: [UnsafeMutablePointer<CChar>?] = command.map { $0.withPath { strdup($0) } }
    words.append(nil)
    defer { for word in words { free(word) } }
    var child = pid_t()
    guard posix_spawn(&child, program, nil, nil, &words, environ) == 0 else { return }
    var status: CInt = 0
    while waitpid(child, &status, 0) == -1, errno == EINTR {}
  }

  /// Where fusermount3(1) is.
  private static func fusermount() -> String? {
    let path = getenv("PATH").map { String(path: $0) } ?? ""
    let places = path.split(separator: ":").map(String.init) + ["/usr/bin", "/bin", "/usr/local/bin"]
    return places.map { "\($0)/fusermount3" }.first { access($0, X_OK) == 0 }
  }

  private static func lines(of file: String) -> [Substring] {
    guard let stream = fopen(file, "re") else { return [] }
    defer { fclose(stream) }
    var text = [UInt8](repeating: 0, count: 65_536)
    let count = fread(&text, 1, text.count, stream)
    return String(decoding: text[..<count], as: UTF8.self).split(separator: "\n")
  }
}

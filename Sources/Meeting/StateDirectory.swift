import P2PFSCore
import Glibc
import SystemPackage

/// Files that p2pfs keeps between runs, in `$XDG_STATE_HOME/p2pfs` (default ~/.local/state/p2pfs): mode 0600 in
/// directories of mode 0700.
package enum StateDirectory {
  /// The path of `name` in the directory `kind`; nil if there is no home to keep it in.
  static func path(_ kind: String, _ name: String) -> String? {
    base("XDG_STATE_HOME", "/.local/state").map { "\($0)/\(kind)/\(name)" }
  }

  /// All directories that p2pfs has for itself: with secrets, settings, and the sockets of its mounts. They are never
  /// served to others, also where they do not exist yet.
  package static var own: [String] {
    let runtime = [environment("XDG_RUNTIME_DIR"), "/run/user/\(getuid())"].compactMap { $0 }.filter { base in
      base.hasPrefix("/") && base.withPath { access($0, W_OK) } == 0
    }
    return [base("XDG_STATE_HOME", "/.local/state"), base("XDG_CONFIG_HOME", "/.config")].compactMap { $0 }
      + runtime.map { $0 + "/p2pfs" } + ["/tmp/p2pfs-\(getuid())"]
  }

  /// The directory of p2pfs in the one that a variable names, else in one of the home; nil if there is none.
  private static func base(_ variable: String, _ inHome: String) -> String? {
    if let named = environment(variable), named.hasPrefix("/") { return named + "/p2pfs" }
    // A service of the system has no HOME.
    let homes = [environment("HOME"), getpwuid(geteuid()).flatMap { $0.pointee.pw_dir }.map { String(path: $0) }]
    return homes.compactMap { $0 }.first { $0.hasPrefix("/") }.map { $0 + inHome + "/p2pfs" }
  }

  /// Reads a file of at most 1 MiB; nil if there is none, or it is not the user's alone.
  static func read(_ path: String) -> String? {
    let descriptor = path.withPath { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) }
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(),
      status.st_mode & 0o077 == 0, status.st_size <= 1 << 20
    else { return nil }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    let count = Glibc.read(descriptor, &bytes, bytes.count)
    guard count == bytes.count else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Seconds since a file was written, by the clock on the wall: below 0 if that was set back. nil if there is none.
  static func age(_ path: String) -> Double? {
    var (status, now) = (stat(), timespec())
    guard path.withPath({ lstat($0, &status) }) == 0, clock_gettime(CLOCK_REALTIME, &now) == 0 else { return nil }
    return Double(now.tv_sec - status.st_mtim.tv_sec)
  }

  /// Replaces a file in one step, so that a crash leaves the old or the new one.
  static func write(_ text: String, to path: String) throws(Errno) {
    makeParents(of: path)
    let temporary = path + ".new"
    let descriptor = temporary.withPath { open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    let bytes = Array(text.utf8)
    let written = Glibc.write(descriptor, bytes, bytes.count)
    let error = errno
    close(descriptor)
    guard written == bytes.count, temporary.withPath({ from in path.withPath { rename(from, $0) } }) == 0 else {
      let cause = written == bytes.count ? errno : error
      _ = temporary.withPath { unlink($0) }
      throw Errno(rawValue: cause)
    }
  }

  /// Makes a directory, and removes all files in it but those with these names.
  static func keepFiles(_ names: Set<String>, in path: String) {
    makeParents(of: path + "/")
    mkdir(path, 0o700)
    for name in files(in: path, atMost: .max) where !names.contains(name) { unlink(path + "/" + name) }
  }

  /// The names in a directory, a certain number at most; none if there is no such directory.
  static func files(in path: String, atMost limit: Int) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while names.count < limit, let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Claims a file for this process: nil if another one has, or the place cannot be written. The claim ends with the
  /// last reference, and with the process however it ends (flock(2)).
  /// - Parameter patience: seconds in which another process may end. Blocks so long.
  static func claim(_ path: String, patience: Double = 0) -> Claim? {
    makeParents(of: path)
    let end = Instant.now.advanced(by: patience)
    while true {
      let descriptor = (path + ".lock").withPath { open($0, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600) }
      guard descriptor >= 0 else { return nil }
      let claim = Claim(descriptor)
      while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        guard errno == EWOULDBLOCK, Instant.now < end else { return nil }
        usleep(50_000)
      }
      // Its last owner may have removed it meanwhile (`forget`): then this is not the file that the next one claims.
      var (mine, named) = (stat(), stat())
      guard fstat(descriptor, &mine) == 0 else { return nil }
      if (path + ".lock").withPath({ lstat($0, &named) }) == 0, mine.st_ino == named.st_ino { return claim }
    }
  }

  /// Removes a file and what it is claimed by. For the owner of the claim, which ends with that.
  static func forget(_ path: String) {
    for name in [path, path + ".lock"] { _ = name.withPath { unlink($0) } }
  }

  /// Removes the files of the directory `kind` that were not written for `seconds`, but for those that are claimed.
  static func forgetOld(_ kind: String, after seconds: Double) {
    guard let directory = path(kind, ""), let stream = directory.withPath({ opendir($0) }) else { return }
    defer { closedir(stream) }
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard name != ".", name != ".." else { continue }
      let file = directory + (name.hasSuffix(".lock") ? String(name.dropLast(5)) : name)
      let ages = [file, file + ".lock"].compactMap(age)
      if !ages.isEmpty, ages.allSatisfy({ abs($0) > seconds }), let claim = claim(file) {
        withExtendedLifetime(claim) { forget(file) }
      }
    }
  }

  /// See `claim`.
  final class Claim: Sendable {
    private let descriptor: Int32
    fileprivate init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
  }

  private static func makeParents(of path: String) {
    var parent = ""
    for component in path.split(separator: "/").dropLast() {
      parent += "/" + component
      _ = parent.withPath { mkdir($0, 0o700) }
    }
  }

  private static func environment(_ name: String) -> String? {
    getenv(name).map { String(path: $0) }
  }
}

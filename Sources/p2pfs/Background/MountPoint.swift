import P2PFSCore
import CP2PFSLinux
import Glibc

/// A place where something may be mounted.
struct MountPoint {
  /// The absolute path, without symbolic links in its parents. Nothing of the mounted filesystem itself is asked,
  /// since it may not answer.
  let path: String
  /// The path, safe for a terminal: others may have named what lies on its way.
  var shown: String { Console.escaped(path) }

  init(_ given: String) throws(Failure) {
    var absolute = given
    if !given.hasPrefix("/") {
      guard let current = getcwd(nil, 0) else {
        throw Failure(.failed, "the current directory is gone; give an absolute path")
      }
      defer { free(current) }
      absolute = String(path: current) + "/" + given
    }
    var components: [Substring] = []
    for component in absolute.split(separator: "/") where component != "." {
      if component == ".." { _ = components.popLast() } else { components.append(component) }
    }
    guard let name = components.popLast() else {
      path = "/"
      return
    }
    let parent = "/" + components.joined(separator: "/")
    guard let resolved = parent.withPath({ realpath($0, nil) }) else {
      throw Failure(.notMounted, "\(Console.escaped(parent)): \(String(cString: strerror(errno)))")
    }
    defer { free(resolved) }
    let real = String(path: resolved)
    let place = (real == "/" ? "" : real) + "/" + name
    // The kernel mounts where a link leads to. readlink(2) does not ask what is mounted on a folder.
    var byte: CChar = 0
    guard place.withPath({ readlink($0, &byte, 1) }) > 0, let target = place.withPath({ realpath($0, nil) }) else {
      path = place
      return
    }
    defer { free(target) }
    path = String(path: target)
  }

  /// The filesystem that was mounted here last; nil if none.
  private var mounted: MountInfo.Entry? { MountInfo().visible(at: path) }

  var isMounted: Bool { mounted != nil }
  var isP2PFS: Bool { mounted?.type == "fuse.p2pfs" }

  /// Unmounts at once, whatever still uses it.
  func detach() throws(Failure) {
    if path.withPath({ umount2($0, Int32(MNT_DETACH)) }) == 0 { return }
    let error = errno
    guard error == EPERM else {
      throw Failure(.failed, "cannot unmount \(shown): \(String(cString: strerror(error)))")
    }
    // An ordinary user unmounts through the setuid program.
    let status = try run(["fusermount3", "-u", "-z", "--", path])
    guard status == 0 else { throw Failure(.failed, "fusermount3 could not unmount \(shown) (status \(status))") }
  }

  private func run(_ arguments: [String]) throws(Failure) -> Int32 {
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { $0.withPath { strdup($0) } } + [nil]
    defer { for pointer in argv { free(pointer) } }
    var process: pid_t = 0
    let error = posix_spawnp(&process, arguments[0], nil, nil, &argv, Glibc.environ)
    guard error == 0 else {
      throw Failure(.failed, "cannot run \(arguments[0]): \(String(cString: strerror(error)))")
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return (status >> 8) & 0xff
  }
}

extension MountPoint {
  /// Fails unless it is a directory on which nothing of p2pfs is mounted yet.
  func checkIsFree() throws(Failure) {
    if isP2PFS {
      throw Failure(.notMounted, "\(shown) is mounted by p2pfs already; \"p2pfs umount \(shown)\" takes it away")
    }
    var status = stat()
    guard path.withPath({ stat($0, &status) }) == 0 else {
      throw Failure(.notMounted, "\(shown): \(String(cString: strerror(errno))). Make the folder first: mkdir \(shown)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw Failure(.notMounted, "\(shown) is not a folder") }
  }
}

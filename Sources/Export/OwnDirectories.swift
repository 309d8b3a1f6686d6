import P2PFSCore
import Glibc
import SystemPackage

/// Directories of p2pfs itself, with the secrets of this very export, which are never served though they lie beneath the
/// root, as they do where a home is exported. They look empty, and what leads to them keeps its name: else a peer could
/// have p2pfs make a new one in its place, and read that.
///
/// They are known by device and inode, and held open so that no other file gets their number. So an export that has none
/// beneath its root is asked nothing, and one that has resolves each path component by component.
struct OwnDirectories: Sendable {
  private struct Identity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64

    init(_ status: FileStatus) { (device, inode) = (status.device, status.inode) }
  }

  /// Keeps a directory open.
  private final class Held: Sendable {
    let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
  }

  private var barred: Set<Identity> = []
  /// These, and all directories and links by which their paths lead to them.
  private var kept: Set<Identity> = []
  private var held: [Held] = []

  /// Whether the root lies above any of them.
  var isEmpty: Bool { barred.isEmpty }

  /// - Parameters:
  ///   - paths: absolute ones (`String.pathBytes`). Those that would lie beneath `root` are made.
  /// - Throws: `EBUSY` if the root is one of them, or lies in one.
  init(_ paths: [String], beneath root: borrowing Descriptor) throws(Errno) {
    guard !paths.isEmpty else { return }
    let top = Identity(try FileStatus(root.rawValue))
    for path in paths {
      let prefixes = OwnDirectories.prefixes(of: path)
      // As its path is written, or as a link leads there.
      let leads = path.withPath { realpath($0, nil) }
      defer { free(leads) }
      let ways = prefixes + (leads.map { OwnDirectories.prefixes(of: String(path: $0)) } ?? [])
      guard
        ways.contains(where: { OwnDirectories.identity($0, follows: true) == top })
          || OwnDirectories.isMounted(path, beneath: root)
      else { continue }
      for prefix in prefixes { _ = prefix.withPath { mkdir($0, 0o700) } }
      guard let real = path.withPath({ realpath($0, nil) }) else { continue }
      defer { free(real) }
      let directory = try Descriptor(open(real, O_PATH | O_DIRECTORY | O_CLOEXEC))
      let own = Identity(try FileStatus(directory.rawValue))
      guard own != top else { throw .resourceBusy }
      held.append(Held(directory))
      barred.insert(own)
      for prefix in prefixes + OwnDirectories.prefixes(of: String(path: real)) {
        if let identity = OwnDirectories.identity(prefix, follows: false) { kept.insert(identity) }
      }
    }
    try expectOutside(root, paths)
  }

  /// Whether a filesystem is mounted beneath the root that holds `path`: perhaps a directory above it, once more (mount(8),
  /// --bind).
  private static func isMounted(_ path: String, beneath root: borrowing Descriptor) -> Bool {
    var link = root.procPath()
    guard let device = identity(path, follows: true)?.device, let real = realpath(&link, nil) else { return false }
    defer { free(real) }
    let top = String(path: real) == "/" ? "/" : String(path: real) + "/"
    return MountInfo().entries.contains { $0.device == device && $0.mountpoint.utf8.starts(with: top.utf8) }
  }

  /// Looks whether the root lies in one of them.
  private func expectOutside(_ root: borrowing Descriptor, _ paths: [String]) throws(Errno) {
    let all = Set(paths.compactMap { OwnDirectories.identity($0, follows: true) })
    guard !all.isEmpty else { return }
    var path = root.procPath()
    guard let real = realpath(&path, nil) else { return }
    defer { free(real) }
    for prefix in OwnDirectories.prefixes(of: String(path: real)) {
      if let identity = OwnDirectories.identity(prefix, follows: true), all.contains(identity) { throw .resourceBusy }
    }
  }

  /// Whether that is one of them.
  func bars(_ status: FileStatus) -> Bool { !barred.isEmpty && barred.contains(Identity(status)) }

  /// Refuses to take away or to replace the name `name` in an open directory if it leads to one of them.
  /// - Throws: `EBUSY`.
  func expectFree(_ directory: borrowing Descriptor, _ name: [CChar]) throws(Errno) {
    guard !kept.isEmpty, let status = try? FileStatus(directory.rawValue, name, isCached: true) else { return }
    guard !kept.contains(Identity(status)) else { throw .resourceBusy }
  }

  private static func identity(_ path: String, follows: Bool) -> Identity? {
    let flags = O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW)
    guard let file = try? Descriptor(path.withPath { open($0, flags) }),
      let status = try? FileStatus(file.rawValue, isCached: true)
    else { return nil }
    return Identity(status)
  }

  /// `/`, `/a`, `/a/b` of `/a/b`.
  private static func prefixes(of path: String) -> [String] {
    var prefixes = ["/"]
    var prefix = ""
    for component in path.split(separator: "/") {
      prefix += "/" + component
      prefixes.append(prefix)
    }
    return prefixes
  }
}

import P2PFSCore
import Glibc

/// The processes that use what is mounted somewhere, as far as this user may see them: as fuser(1) finds them, but
/// without asking the filesystem, which may not answer.
enum MountUsers {
  /// Names and numbers of at most `limit` processes with an open file, a mapped one, a working directory or a root
  /// there.
  static func of(_ mountpoint: String, limit: Int = 4) -> [String] {
    var users: [String] = []
    for name in entries(of: "/proc") {
      guard let process = Int32(name), process != getpid() else { continue }
      let directory = "/proc/\(process)"
      let links = ["cwd", "root", "exe"] + entries(of: directory + "/fd").map { "fd/" + $0 }
      let uses =
        links.contains { target(of: directory + "/" + $0).map { isInside($0, mountpoint) } ?? false }
        || entries(of: directory + "/map_files").contains {
          target(of: directory + "/map_files/" + $0).map { isInside($0, mountpoint) } ?? false
        }
      guard uses else { continue }
      users.append("\(command(directory).escaped) (\(process))")
      if users.count == limit { break }
    }
    return users
  }

  /// Whether the kernel counts a user of the mount, also one that /proc does not show: a mount inside, a process of
  /// another user. Asked without unmounting (umount2(2), MNT_EXPIRE: the first call only marks); only root may. What looks at it
  /// in passing is gone the next time.
  static func isBusy(_ mountpoint: String) -> Bool {
    for attempt in 0..<4 {
      if attempt > 0 { usleep(50_000) }
      let result = mountpoint.withPath { umount2($0, Int32(MNT_EXPIRE)) }
      guard result != 0, errno == EBUSY else { return false }
    }
    return true
  }

  private static func isInside(_ path: String, _ mountpoint: String) -> Bool {
    // By bytes: as text, names that look the same are equal.
    let (path, place) = (path.pathBytes, mountpoint.pathBytes)
    return path.starts(with: place) && (path.count == place.count || path[place.count] == UInt8(ascii: "/"))
  }

  private static func target(of link: String) -> String? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink(link, &buffer, buffer.count)
    return count > 0 ? String(pathBytes: buffer[..<count].map(UInt8.init(bitPattern:))) : nil
  }

  private static func command(_ directory: String) -> String {
    guard let file = fopen(directory + "/comm", "re") else { return "?" }
    defer { fclose(file) }
    var text = [UInt8](repeating: 0, count: 64)
    let count = fread(&text, 1, text.count, file)
    return String(decoding: text[..<count].prefix { $0 != 10 }, as: UTF8.self)
  }

  private static func entries(of directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
